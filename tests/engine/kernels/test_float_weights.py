"""Linear layers of our CPU kernels on weights in float16 and bfloat16 as they lie in GGUF files."""

from ctypes import byref, c_int32, c_int64

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import random, random_blocks, random_floats
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from torch import Tensor

from engine.kernels.library import kernels
from engine.kernels.packed import linear_step, pack
from engine.kernels.structures import FLOAT_FORMATS, LinearStep
from engine.layers import kernel_linear
from engine.layers.kernel_linear import LARGE_BATCH_ROWS, KernelLinear, has_kernel
from engine.layers.linear_dispatch import kernel_summary, make_linear
from engine.quantization.gguf_blocks import GgufBlocks

pytestmark = needs_kernels

DTYPES = (torch.float32, torch.bfloat16)
BOTH_PATHS = (3, LARGE_BATCH_ROWS + 3)
each_type = pytest.mark.parametrize("name", FLOAT_FORMATS)
seeds = st.integers(0, 2**31)


@st.composite
def layers(draw: st.DrawFn, name: str) -> tuple[GgufBlocks, Tensor]:
    """Weights of any shape, and activations of few rows or many."""
    columns = draw(st.integers(1, 400))
    weight = random_floats(name, draw(st.integers(1, 70)), columns, draw(seeds))
    rows = draw(st.one_of(st.integers(1, 16), st.integers(LARGE_BATCH_ROWS - 1, LARGE_BATCH_ROWS + 3)))
    factors = draw(st.lists(st.sampled_from((0.0, 1e-30, 1.0, 1e4, 1e18)), min_size=rows, max_size=rows))
    x = random(rows, columns, seed=draw(seeds)) * torch.tensor(factors)[:, None]
    return weight, x.to(draw(st.sampled_from(DTYPES)))


@each_type
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_agrees_with_float64_and_between_instruction_sets(name: str, data: st.DataObject) -> None:
    weight, x = data.draw(layers(name))
    bias = random(weight.shape[0], seed=1, dtype=x.dtype) if data.draw(st.booleans()) else None
    linear = KernelLinear(weight, bias)
    y = assert_same_in_all_sets(lambda: linear(x))
    assert y.dtype == x.dtype
    # for many rows of bfloat16 the weights are converted to it
    w = weight.dequantize(x.dtype if len(x) >= LARGE_BATCH_ROWS else torch.float32).double()
    wanted, magnitudes = x.double() @ w.T, x.double().abs() @ w.abs().T
    if bias is not None:
        wanted, magnitudes = wanted + bias.double(), magnitudes + bias.double().abs()
    rounding = (len(x[0]) / 16 + 8) * 6e-8 if len(x) < LARGE_BATCH_ROWS else len(x[0]) * 6e-8
    most = magnitudes * rounding + wanted.abs() * torch.finfo(x.dtype).eps / 2 + 1e-36
    assert ((y.double() - wanted).abs() <= most).all()


@each_type
@settings(max_examples=25, deadline=None)
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
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rows_in_chunks_of_weights(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = random_floats(name, 130, 96, 1)
    linear, x = KernelLinear(weight, random(130, seed=2, dtype=dtype)), random(70, 96, seed=3, dtype=dtype)
    for gelu in (False, True):
        whole = linear(x, gelu)
        with monkeypatch.context() as patch:
            patch.setattr(kernel_linear, "_CHUNK_FLOATS", 96 * 32)
            assert same_bits(linear(x, gelu), whole)
        assert not same_bits(linear(x, not gelu), whole)


@each_type
@pytest.mark.parametrize("rows", BOTH_PATHS)
def test_nan_and_infinity_spoil_their_row_and_column_and_no_other(name: str, rows: int) -> None:
    weight = random_floats(name, 21, 77, 1)
    x = random(rows, 77, seed=4)
    clean = KernelLinear(weight, None)(x)
    dtype = torch.float16 if name == "F16" else torch.bfloat16
    for bad in (float("nan"), float("inf"), float("-inf")):
        spoilt = x.clone()
        spoilt[1, 76] = bad
        weights = weight.raw.view(dtype).clone()
        weights[4, 75] = bad
        broken = GgufBlocks(weights.view(torch.uint8), weight.type, weight.shape)
        y = assert_same_in_all_sets(lambda broken=broken, spoilt=spoilt: KernelLinear(broken, None)(spoilt))  # type: ignore[misc]
        assert not y[1].isfinite().any()
        assert not y[:, 4].isfinite().any()
        whole_rows, whole_columns = torch.arange(rows) != 1, torch.arange(21) != 4
        assert same_bits(y[whole_rows][:, whole_columns], clean[whole_rows][:, whole_columns])


@each_type
def test_weights_are_read_where_they_lie(name: str) -> None:
    weight = random_floats(name, 5, 24, 1)
    for exact in (False, True):  # activations are not rounded
        matrix = GgufBlocks(weight.raw, weight.type, weight.shape, exact)
        assert has_kernel(matrix)
        linear = make_linear(matrix, None, torch.float32, packed=True)
        assert isinstance(linear, KernelLinear)
        assert linear.weight.values.data_ptr() == weight.raw.data_ptr()
        assert f"{name} kernel" in kernel_summary(linear)


def test_layers_of_one_input_in_several_formats() -> None:
    """The same rows are rounded for some layers, and not for others."""
    library = kernels().library
    assert library is not None
    x = random(3, 256, seed=1)
    matrices = [
        pack(weight)
        for weight in (
            random_floats("F16", 20, 256, 2), random_blocks("Q4_K", 20, 256, 3), random_floats("BF16", 20, 256, 4),
            random_blocks("Q8_0", 20, 256, 5),
        )
    ]  # fmt: skip

    def run(count: int, first: int = 0) -> list[Tensor]:
        outputs = [torch.zeros(3, 20) for _ in range(count)]
        steps = (LinearStep * count)()
        for i, y in enumerate(outputs):
            steps[i] = linear_step(matrices[first + i], None, x, y)
            steps[i].same_input = i > 0
        library.mdtool_run_linears(byref(steps), c_int64(count), c_int64(3), c_int32(2))
        return outputs

    for together, first in zip(run(4), range(4), strict=True):
        assert torch.equal(together, run(1, first)[0])
