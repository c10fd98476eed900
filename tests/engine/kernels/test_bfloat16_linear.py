"""Linear layers with small bfloat16 weights in our CPU kernels, against float64, a row alone, and each other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import random, tolerance
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from torch import Tensor

from engine.kernels.packed import PANEL
from engine.layers.kernel_linear import SMALL, KernelLinear, has_kernel
from engine.layers.linear import Linear
from engine.layers.linear_dispatch import few_rows, kernel_summary, make_linear

pytestmark = needs_kernels

BFLOAT16 = torch.bfloat16
repeat = settings(max_examples=40, deadline=None)
shapes = st.tuples(st.integers(1, 60), st.integers(1, 9), st.integers(1, 150), st.integers(0, 2**31))


def drawn(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    rows, panels, pairs, seed = shape
    weight = random(panels * PANEL, 2 * pairs, seed=seed, dtype=BFLOAT16)
    return weight, random(len(weight), seed=1, dtype=BFLOAT16), random(rows, 2 * pairs, seed=seed + 1, dtype=BFLOAT16)


@repeat
@given(shapes)
def test_agrees_with_float64_and_between_instruction_sets(shape: tuple[int, int, int, int]) -> None:
    weight, bias, x = drawn(shape)
    assert has_kernel(weight)
    linear = KernelLinear(weight, bias)
    y = assert_same_in_all_sets(lambda: linear(x))
    assert y.dtype == BFLOAT16
    wanted = x.double() @ weight.double().T + bias.double()
    magnitudes = x.double().abs() @ weight.double().abs().T + bias.double().abs()
    assert ((y.double() - wanted).abs() <= tolerance(wanted, magnitudes, BFLOAT16)).all()


@repeat
@given(shapes, st.data())
def test_a_row_alone_is_the_row_in_a_batch(shape: tuple[int, int, int, int], data: st.DataObject) -> None:
    weight, bias, x = drawn(shape)
    linear = KernelLinear(weight, bias)
    first = data.draw(st.integers(0, len(x) - 1))
    last = data.draw(st.integers(first + 1, len(x)))
    assert same_bits(linear(x[first:last], gelu=True), linear(x, gelu=True)[first:last])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_spoil_their_row_and_no_other(bad: float) -> None:
    weight, bias, x = drawn((30, 3, 20, 0))
    linear, spoilt = KernelLinear(weight, bias), x.clone()
    spoilt[7, 39] = bad
    y = assert_same_in_all_sets(lambda: linear(spoilt))
    assert not y[7].isfinite().any()
    others = torch.arange(len(x)) != 7
    assert same_bits(y[others], linear(x)[others])


def test_large_odd_and_float_matrices_are_left_to_torch() -> None:
    def made(rows: int, columns: int, dtype: torch.dtype = BFLOAT16) -> object:
        return make_linear(torch.ones(rows, columns, dtype=dtype), None, dtype, packed=True)

    small = made(2 * PANEL, 6)
    assert isinstance(small, KernelLinear)
    assert few_rows(small) is None
    assert kernel_summary(small) == "mdtool's bfloat16 kernel"
    for other in (made(PANEL + 1, 6), made(PANEL, 7), made(PANEL, SMALL // PANEL + 2), made(PANEL, 6, torch.float32)):
        assert isinstance(other, Linear)
