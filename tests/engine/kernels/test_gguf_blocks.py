"""Linear layers of our CPU kernels on the blocks of GGUF files, against float64 and between instruction sets."""

from dataclasses import replace

import pytest
import torch
from golden import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import TYPES, random, random_blocks, round_to_int8
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from safetensors.torch import load_file
from torch import Tensor

import engine
from engine.contract import LoadOptions
from engine.generation.vision_language_model import VisionLanguageModel
from engine.kernels.structures import FLOAT_FORMATS, GGUF_FORMATS
from engine.layers.kernel_linear import LARGE_BATCH_ROWS, KernelLinear, has_kernel
from engine.layers.linear_dispatch import kernel_summary, make_linear
from engine.quantization.gguf_blocks import BLOCK_TYPES, GgufBlocks

pytestmark = needs_kernels

DTYPES = (torch.float32, torch.bfloat16)
BOTH_PATHS = (3, LARGE_BATCH_ROWS + 3)
each_type = pytest.mark.parametrize("name", GGUF_FORMATS)
seeds = st.integers(0, 2**31)
QUANTS = {  # the bytes of a block without its scales and minima
    "Q8_0": slice(2, None), "Q4_0": slice(2, None), "Q4_1": slice(4, None), "Q5_0": slice(2, None),
    "Q5_1": slice(4, None), "Q4_K": slice(16, None), "Q5_K": slice(16, None), "Q6_K": slice(192),
}  # fmt: skip


@st.composite
def layers(draw: st.DrawFn, name: str) -> tuple[GgufBlocks, Tensor]:
    """Weights of any shape, and activations of few rows or many."""
    most = 5 if TYPES[name].weights == 256 else 14
    columns = TYPES[name].weights * draw(st.integers(1, most))
    weight = random_blocks(name, draw(st.integers(1, 70)), columns, draw(seeds))
    rows = draw(st.one_of(st.integers(1, 16), st.integers(LARGE_BATCH_ROWS - 1, LARGE_BATCH_ROWS + 3)))
    factors = draw(st.lists(st.sampled_from((0.0, 1e-41, 1e-30, 1.0, 1e4, 1e18)), min_size=rows, max_size=rows))
    x = random(rows, columns, seed=draw(seeds)) * torch.tensor(factors)[:, None]
    return weight, x.to(draw(st.sampled_from(DTYPES)))


def reference(weight: GgufBlocks, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the product in float64, and the sum of the magnitudes that are added for each number.

    For many rows the weights are rounded to int8 with a scale a row, which suits whatever its blocks could have:
    each may be half a unit off, and where that is decided by the last bit of float32, a whole one.
    """
    if len(x) < LARGE_BATCH_ROWS:
        w = weight.dequantize(torch.float64)
        parts = minima(weight) + w.abs()
        rounded = round_to_int8(x, 128)
        return rounded @ w.T, rounded.abs() @ parts.T
    w = weight.dequantize(torch.float32)
    unit = (largest(weight) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    w64 = (w * (1 / unit)).round().clamp(-128, 127).double() * unit.double()
    rounded = round_to_int8(x, None)
    return rounded @ w64.T, rounded.abs() @ w64.abs().T


def largest(weight: GgufBlocks) -> Tensor:
    """Return the largest magnitude that the scales of each row allow, (rows, 1) float32."""
    extremes = []
    for quants in (0x81, 0x7F) if weight.type.name == "Q8_0" else (0x00, 0xFF):
        raw = weight.raw.clone()
        raw.view(-1, weight.type.bytes)[:, QUANTS[weight.type.name]] = quants
        extremes.append(replace(weight, raw=raw).dequantize(torch.float32).abs().amax(1, keepdim=True))
    return torch.maximum(*extremes)


def minima(weight: GgufBlocks) -> Tensor:
    """Twice the largest weight of each row: minima are subtracted from products that are larger than the weights."""
    return 2 * weight.dequantize(torch.float64).abs().amax(1, keepdim=True)


@each_type
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_agrees_with_float64_and_between_instruction_sets(name: str, data: st.DataObject) -> None:
    weight, x = data.draw(layers(name))
    bias = random(weight.shape[0], seed=1, dtype=x.dtype) if data.draw(st.booleans()) else None
    linear = KernelLinear(weight, bias)
    y = assert_same_in_all_sets(lambda: linear(x))
    assert y.dtype == x.dtype
    wanted, magnitudes = reference(weight, x)
    if bias is not None:
        wanted, magnitudes = wanted + bias.double(), magnitudes + bias.double().abs()
    if len(x) < LARGE_BATCH_ROWS:
        most = magnitudes * 2e-6 + wanted.abs() * (torch.finfo(x.dtype).eps / 2 + 2e-7) + 1e-36
        assert ((y.double() - wanted).abs() <= most).all()
    else:
        error = (y.double() - wanted).abs()
        assert (error <= magnitudes * 1e-3 + wanted.abs() * torch.finfo(x.dtype).eps + 1e-36).all()


@each_type
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_row_alone_is_the_row_in_a_batch(name: str, data: st.DataObject) -> None:
    weight, x = data.draw(layers(name))
    linear = KernelLinear(weight, None)
    batch = linear(x)
    if len(x) < LARGE_BATCH_ROWS:
        first = data.draw(st.integers(0, len(x) - 1))
        last = data.draw(st.integers(first + 1, len(x)))
        assert same_bits(linear(x[first:last]), batch[first:last])
    else:
        assert same_bits(linear(torch.cat([x.roll(7, 0), x[:1]])), torch.cat([batch.roll(7, 0), batch[:1]]))


@each_type
@pytest.mark.parametrize("rows", BOTH_PATHS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_in_x_spoil_their_row_and_no_other(name: str, rows: int, bad: float) -> None:
    weight = random_blocks(name, 21, 768, 1)
    linear, x = KernelLinear(weight, None), random(rows, 768, seed=4)
    clean = linear(x)
    for column in (0, 300, 767):
        spoilt = x.clone()
        spoilt[1, column] = bad
        y = assert_same_in_all_sets(lambda spoilt=spoilt: linear(spoilt))  # type: ignore[misc]
        assert not y[1].isfinite().any()
        others = torch.arange(rows) != 1
        assert same_bits(y[others], clean[others])


@each_type
@pytest.mark.parametrize("rows", BOTH_PATHS)
def test_nan_in_a_weight_spoils_its_column(name: str, rows: int) -> None:
    weight = random_blocks(name, 21, 512, 1)
    at = 208 if name == "Q6_K" else 0
    weight.raw[4, at : at + 2] = torch.tensor([float("nan")], dtype=torch.float16).view(torch.uint8)
    y = assert_same_in_all_sets(lambda: KernelLinear(weight, None)(random(rows, 512, seed=4)))
    assert y[:, 4].isnan().all()
    assert y[:, :4].isfinite().all()
    assert y[:, 5:].isfinite().all()


@each_type
def test_blocks_are_read_where_they_lie(name: str) -> None:
    weight = random_blocks(name, 5, 256, 1)
    linear = make_linear(weight, None, torch.bfloat16, packed=True)
    assert isinstance(linear, KernelLinear)
    assert linear.weight.values.data_ptr() == weight.raw.data_ptr()
    assert name in kernel_summary(linear)


def test_other_types_and_exact_products_are_left_to_others() -> None:
    for kind in BLOCK_TYPES.values():
        raw = torch.zeros(2, kind.row_bytes(256), dtype=torch.uint8)
        weight = GgufBlocks(raw, kind, (2, 256))
        assert has_kernel(weight) == (kind.name in GGUF_FORMATS or kind.name in FLOAT_FORMATS)
        assert has_kernel(GgufBlocks(raw, kind, (2, 256), exact=True)) == (kind.name in FLOAT_FORMATS)


@pytest.mark.parametrize("name", ["mix-Q4_K_M", "mix-Q3_K_M", "qwen3-vl-tiny-Q8_0"])
def test_logits_of_golden_files(name: str) -> None:
    """With a dtype other than float32, which multiplies exactly, activations are rounded."""
    path = GOLDEN / "gguf" / f"{name}.gguf"
    loaded = engine.load(str(path), LoadOptions("cpu", "bfloat16"))
    assert isinstance(loaded, VisionLanguageModel)
    expected = load_file(path.with_suffix(".expected.safetensors"))
    ids = expected["input_ids"].tolist()
    decoder, image = loaded.decoder, loaded.tokenizer.special(loaded.style.image_token)
    last = ids.index(image) if image in ids else len(ids)
    with torch.inference_mode():
        hidden = [decoder.step([(decoder.start(None), None, ids[:end])]) for end in range(1, last + 1)]
        logits = loaded.text.logits(torch.cat(hidden)).float()
    cosines = torch.cosine_similarity(logits, expected["logits"][:last], dim=1)
    assert cosines.min() >= 0.99, cosines
