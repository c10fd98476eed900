"""Linear layers of our CPU kernels against float64, over shapes, groups, numbers of rows and instruction sets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import few_rows, many_rows, random, random_blocks, random_int4, random_int8, tolerance
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from torch import Tensor

from engine.kernels.structures import GGUF_FORMATS
from engine.layers import kernel_linear
from engine.layers.kernel_linear import LARGE_BATCH_ROWS, KernelLinear, has_kernel
from engine.quantization.formats import Int4, Int8, quantize_int4, quantize_int8

pytestmark = needs_kernels

DTYPES = (torch.float32, torch.bfloat16)
MAGNITUDES = (1e-41, 1e-30, 1.0, 1e4, 1e18)  # the first is denormal
BOTH_PATHS = (3, LARGE_BATCH_ROWS + 3)

seeds = st.integers(0, 2**31)
row_counts = st.one_of(st.integers(1, 16), st.integers(LARGE_BATCH_ROWS - 1, LARGE_BATCH_ROWS + 6))
repeat = settings(max_examples=60, deadline=None)


@st.composite
def weights(draw: st.DrawFn) -> Int4 | Int8:
    rows, seed = draw(st.integers(1, 70)), draw(seeds)
    if draw(st.booleans()):
        return random_int8(rows, draw(st.integers(1, 400)), seed)
    group = draw(st.sampled_from((32, 64, 128)))
    return random_int4(rows, group * draw(st.integers(1, 640 // group)), group, seed)


@st.composite
def activations(draw: st.DrawFn, columns: int, dtype: torch.dtype) -> Tensor:
    rows = draw(row_counts)
    factors = draw(st.lists(st.sampled_from((0.0, *MAGNITUDES)), min_size=rows, max_size=rows))
    return (random(rows, columns, seed=draw(seeds)) * torch.tensor(factors)[:, None]).to(dtype)


def reference(weight: Int4 | Int8, x: Tensor) -> tuple[Tensor, Tensor]:
    return (few_rows if len(x) < LARGE_BATCH_ROWS else many_rows)(weight, x)


def test_without_fast_int8_gemm_many_rows_are_few_rows_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = KernelLinear(random_int4(48, 256, 128, seed=0), None)
    x = random(LARGE_BATCH_ROWS + 3, 256, seed=1)
    wanted = torch.cat([linear(row) for row in x.split(1)])
    monkeypatch.setattr(kernel_linear, "has_int8_gemm", lambda: False)
    assert torch.equal(linear(x), wanted)


@repeat
@given(st.data())
def test_agrees_with_float64_and_between_instruction_sets(data: st.DataObject) -> None:
    weight, dtype = data.draw(weights()), data.draw(st.sampled_from(DTYPES))
    x = data.draw(activations(weight.shape[1], dtype))
    bias = random(weight.shape[0], seed=1, dtype=dtype) if data.draw(st.booleans()) else None
    linear = KernelLinear(weight, bias)
    y = assert_same_in_all_sets(lambda: linear(x))
    assert y.dtype == dtype
    wanted, magnitudes = reference(weight, x)
    if bias is not None:
        wanted, magnitudes = wanted + bias.double(), magnitudes + bias.double().abs()
    assert ((y.double() - wanted).abs() <= tolerance(wanted, magnitudes, dtype)).all()


@repeat
@given(st.data())
def test_a_row_alone_is_the_row_in_a_batch(data: st.DataObject) -> None:
    weight, dtype = data.draw(weights()), data.draw(st.sampled_from(DTYPES))
    x = data.draw(activations(weight.shape[1], dtype))
    linear = KernelLinear(weight, random(weight.shape[0], seed=1, dtype=dtype))
    batch = linear(x)
    if len(x) < LARGE_BATCH_ROWS:
        first = data.draw(st.integers(0, len(x) - 1))
        last = data.draw(st.integers(first + 1, len(x)))
        assert same_bits(linear(x[first:last]), batch[first:last])
    else:
        turned = x.roll(7, 0)
        assert same_bits(linear(torch.cat([turned, x[:1] * 3])), torch.cat([batch.roll(7, 0), linear(x * 3)[:1]]))


@pytest.mark.parametrize("rows", BOTH_PATHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("gelu", [False, True])
def test_nan_and_infinity_spoil_their_row_and_no_other(rows: int, dtype: torch.dtype, bad: float, gelu: bool) -> None:
    """Also where they meet a weight of 0: a finite number would hide that the input is broken."""
    columns = 300
    for weight in (random_int8(37, columns, 1), random_int4(37, 320, 32, 2), random_int4(37, 384, 128, 3)):
        linear, x = KernelLinear(weight, None), random(rows, weight.shape[1], seed=4, dtype=dtype)
        clean = linear(x, gelu)
        for column in (0, 127, weight.shape[1] - 1):
            spoilt = x.clone()
            spoilt[1, column] = bad
            y = assert_same_in_all_sets(lambda linear=linear, spoilt=spoilt: linear(spoilt, gelu))  # type: ignore[misc]
            assert not y[1].isfinite().any()
            others = torch.arange(rows) != 1
            assert same_bits(y[others], clean[others])


@pytest.mark.parametrize("rows", BOTH_PATHS)
def test_scales_of_zero_are_weights_of_zero(rows: int) -> None:
    int8, int4 = random_int8(20, 200, 1), random_int4(20, 192, 64, 2)
    x = random(rows, 200, seed=3)
    bias = random(20, seed=5)
    for weight in (Int8(int8.values, int8.scale * 0), Int4(int4.nibbles, int4.scale * 0, int4.zero)):
        y = assert_same_in_all_sets(lambda w=weight: KernelLinear(w, bias)(x[:, : w.shape[1]]))  # type: ignore[misc]
        assert torch.equal(y, bias.expand(rows, -1))


@pytest.mark.parametrize("rows", BOTH_PATHS)
def test_rows_of_zeros_give_the_bias(rows: int) -> None:
    bias = random(33, seed=5)
    for weight in (random_int8(33, 130, 1), random_int4(33, 128, 32, 2)):
        assert torch.equal(KernelLinear(weight, bias)(torch.zeros(rows, weight.shape[1])), bias.expand(rows, -1))


@pytest.mark.parametrize("rows", [1, 16, 63, 64, 70])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_quantised_weights_stay_near_the_float_product(rows: int, group: int) -> None:
    w, x = random(70, 640, seed=1) / 25, random(rows, 640, seed=2)
    for weight in (quantize_int4(w, group), quantize_int8(w)):
        assert has_kernel(weight)
        wanted = x.double() @ weight.dequantize(torch.float64).T
        error = (KernelLinear(weight, None)(x).double() - wanted).square().mean().sqrt()
        assert error < 0.012 * wanted.square().mean().sqrt()


@pytest.mark.parametrize("rows", BOTH_PATHS)
@pytest.mark.parametrize("group", [32, 64, 128])
def test_rows_that_no_group_divides(rows: int, group: int) -> None:
    weight, x = quantize_int4(random(40, 300, seed=1), group), random(rows, 300, seed=2)
    assert weight.padding
    y = assert_same_in_all_sets(lambda: KernelLinear(weight, None)(x))
    wanted = x.double() @ weight.dequantize(torch.float64).T
    assert (y.double() - wanted).square().mean() < (0.012 * wanted.square().mean().sqrt()) ** 2


def test_what_the_kernels_cannot_multiply_is_left_to_others() -> None:
    weight = random_int4(8, 64, 32, 1)
    assert has_kernel(weight)
    assert not has_kernel(Int4(weight.nibbles, weight.scale, weight.zero, exact=True))
    groups_of_16 = Int4(weight.nibbles, weight.scale.repeat(1, 2), weight.zero.repeat(1, 2))
    assert not has_kernel(groups_of_16)


@repeat
@given(st.data())
def test_blocks_of_gguf_files(data: st.DataObject) -> None:
    """Few rows multiply blocks as they lie, many rows bytes that they are rounded to."""
    name = data.draw(st.sampled_from(tuple(GGUF_FORMATS)))
    size = 256 if name.endswith("_K") else 32
    rows, columns = data.draw(st.integers(1, 40)), size * data.draw(st.integers(1, 768 // size))
    weight, dtype = random_blocks(name, rows, columns, data.draw(seeds)), data.draw(st.sampled_from(DTYPES))
    x = data.draw(activations(columns, dtype))
    linear = KernelLinear(weight, None)
    y = assert_same_in_all_sets(lambda: linear(x))
    if len(x) < LARGE_BATCH_ROWS:
        wanted, magnitudes = few_rows(weight, x)
        assert ((y.double() - wanted).abs() <= tolerance(wanted, magnitudes, dtype)).all()
        row = data.draw(st.integers(0, len(x) - 1))
        assert same_bits(linear(x[row : row + 1]), y[row : row + 1])
