"""Linear layers with their LayerNorm and with a residual sum, against the same in separate steps."""

import pytest
import torch
from kernel_reference import random, random_int4, random_int8
from torch import Tensor

from engine.layers.fused_linear import linear_of_norm, plus_linear
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import make_linear
from engine.layers.norms import Norm, layer_norm
from engine.quantization.formats import Matrix

COLUMNS, OUTPUTS, EPS = 192, 70, 1e-3
WEIGHTS: dict[str, Matrix] = {
    "float": random(OUTPUTS, COLUMNS, seed=1),
    "int8": random_int8(OUTPUTS, COLUMNS, 1),
    "int4": random_int4(OUTPUTS, COLUMNS, 64, 1),
}

layers = pytest.mark.parametrize("weights", WEIGHTS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
few_and_many = pytest.mark.parametrize("rows", [5, 80])


def linear(weights: str, dtype: torch.dtype) -> LinearLayer:
    weight = WEIGHTS[weights]
    weight = weight.to(dtype) if isinstance(weight, Tensor) else weight
    return make_linear(weight, random(OUTPUTS, seed=2, dtype=dtype), dtype, packed=True)


def norm_of(dtype: torch.dtype) -> Norm:
    weight, bias = random(2, COLUMNS, seed=3, dtype=dtype)
    return weight, bias


def assert_near(y: Tensor, wanted: Tensor) -> None:
    """Up to what rounding of activations to bytes, and of bfloat16 numbers in between, may change."""
    assert y.dtype == wanted.dtype
    off = (y.double() - wanted.double()).square().mean().sqrt()
    assert off < 0.01 * wanted.double().square().mean().sqrt()


@layers
@dtypes
@few_and_many
@pytest.mark.parametrize("gelu", [True, False])
def test_a_norm_before(weights: str, dtype: torch.dtype, rows: int, gelu: bool) -> None:
    layer, x, norm = linear(weights, dtype), random(rows, COLUMNS, seed=4, dtype=dtype) * 3 + 1, norm_of(dtype)
    y = linear_of_norm(layer, x, norm, EPS, gelu=gelu)
    assert_near(y, layer(layer_norm(x, norm, EPS), gelu=gelu))


@layers
@dtypes
@few_and_many
def test_a_residual_after(weights: str, dtype: torch.dtype, rows: int) -> None:
    layer, inputs = linear(weights, dtype), random(rows, COLUMNS, seed=4, dtype=dtype)
    x = random(rows, OUTPUTS, seed=5, dtype=dtype) * 50
    before = x.clone()
    y = plus_linear(x, layer, inputs)
    assert_near(y - x, layer(inputs)) if dtype == torch.float32 else assert_near(y, x + layer(inputs))
    assert torch.equal(x, before)


@layers
@dtypes
def test_a_row_does_not_depend_on_the_others(weights: str, dtype: torch.dtype) -> None:
    layer, norm = linear(weights, dtype), norm_of(dtype)
    inputs, x = random(150, COLUMNS, seed=6, dtype=dtype), random(150, OUTPUTS, seed=7, dtype=dtype)
    some = slice(70, 150)
    normed = linear_of_norm(layer, inputs, norm, EPS)
    assert torch.equal(linear_of_norm(layer, inputs[some], norm, EPS), normed[some])
    summed = plus_linear(x, layer, inputs)
    assert torch.equal(plus_linear(x[some], layer, inputs[some]), summed[some])
