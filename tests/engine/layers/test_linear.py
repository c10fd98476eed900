"""Products with weights, packed and plain: as exact as the type allows, and for each row the same with any others."""

from itertools import product

import pytest
import torch
from torch import Tensor

from engine.layers.linear import Linear

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def made(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(rows * columns)
    drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return drawn.mul(columns**-0.25).to(dtype)


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 130, 70), (3, 1, 7), (9, 588, 72), (64, 512, 256)])
def test_agrees_with_float64_within_the_rounding_of_the_type(
    packed: bool, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    for biased, fused in product((True, False), repeat=2):
        check_linear(packed, dtype, shape, biased=biased, fused=fused)


def check_linear(packed: bool, dtype: torch.dtype, shape: tuple[int, int, int], *, biased: bool, fused: bool) -> None:
    rows, inputs, outputs = shape
    x, weight = made(rows, inputs, dtype), made(outputs, inputs, dtype)
    bias = made(1, outputs, dtype)[0] if biased else None
    y = Linear(weight.clone(), bias, packed)(x, gelu=fused)
    assert y.dtype == dtype
    assert y.shape == (rows, outputs)

    added = bias.double() if bias is not None else torch.zeros(outputs, dtype=torch.float64)
    exact = x.double() @ weight.double().T + added
    # The sum in float32 at the least, then the product and what GELU makes of it, each rounded once; its slope is 1.13.
    summed = (x.double().abs() @ weight.double().abs().T + added.abs()) * 2**-20
    allowed = summed + 2.2 * torch.finfo(dtype).eps / 2 * exact.abs() + torch.finfo(dtype).tiny
    error = (y.double() - (gelu(exact) if fused else exact)).abs()
    assert (error <= allowed).all(), float((error / allowed).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("inputs", "outputs", "fused"), [(8192, 2048, False), (2048, 1024, True), (588, 1152, False), (55, 72, True)]
)
def test_a_row_is_the_same_to_the_last_bit_with_any_others(
    dtype: torch.dtype, inputs: int, outputs: int, fused: bool
) -> None:
    """Where the type is packed. A kernel may split a sum over 8192 columns among threads."""
    linear = Linear(made(outputs, inputs, dtype), made(1, outputs, dtype)[0], packed=True)
    if not linear.packed:
        pytest.skip("this CPU has no packed products for the type")
    x = made(70, inputs, dtype)
    whole = linear(x, fused)
    for rows in range(1, 71):
        assert torch.equal(linear(x[:rows], fused), whole[:rows]), rows
    for first in range(1, 70, 13):
        assert torch.equal(linear(x[first : first + 3], fused), whole[first : first + 3]), first
    alone = torch.cat([linear(x[row : row + 1], fused) for row in range(70)])
    assert torch.equal(alone, whole)


def test_rows_need_not_lie_together() -> None:
    linear = Linear(made(24, 40, torch.float32), None, packed=True)
    wide = made(12, 80, torch.float32)
    for x in (wide[:, :40], wide[::3, 40:], wide[5:6, 40:]):
        assert torch.equal(linear(x), linear(x.clone(memory_format=torch.contiguous_format)))


def test_what_went_in_stays_as_it_was() -> None:
    for packed in (True, False):
        x, bias = made(5, 16, torch.float32), made(1, 8, torch.float32)[0]
        before = x.clone(), bias.clone()
        linear = Linear(made(8, 16, torch.float32), bias, packed)
        first = linear(x, gelu=True)
        assert torch.equal(linear(x, gelu=True), first)
        assert torch.equal(x, before[0])
        assert torch.equal(bias, before[1])
