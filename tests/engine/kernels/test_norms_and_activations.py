"""What our CPU kernels do around a product: normalisation before it; GELU, a SiLU gate and a residual after it."""

from ctypes import byref, c_int32, c_int64

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import few_rows, random, random_int4, random_int8, tolerance
from kernel_sets import assert_same_in_all_sets, needs_kernels
from torch import Tensor

from engine.generation.fused_decoder import FusedNorm
from engine.kernels.library import kernels
from engine.kernels.packed import PackedMatrix, linear_step, pack, quantize_rows
from engine.kernels.structures import GELU, MULTIPLY_BY_SILU, NO_ACTIVATION, rows_of
from engine.layers.kernel_linear import KernelLinear
from engine.quantization.formats import Int8

pytestmark = needs_kernels

DTYPES = (torch.float32, torch.bfloat16)
repeat = settings(max_examples=40, deadline=None)


def run(weight: PackedMatrix, x: Tensor, *, activation: int = NO_ACTIVATION, norm: FusedNorm | None = None,
        gate: Tensor | None = None, residual: Tensor | None = None) -> Tensor:  # fmt: skip
    y = x.new_empty(len(x), weight.rows)
    step = linear_step(weight, None, x, y, activation=activation, residual=residual)
    if norm:
        step.norm = norm.structure
    if gate is not None:
        step.gate = rows_of(gate)
    library = kernels().library
    assert library is not None
    library.mdtool_run_linears(byref(step), c_int64(1), c_int64(len(x)), c_int32(torch.get_num_threads()))
    return y


def normalised(x: Tensor, norm: FusedNorm) -> Tensor:
    """LayerNorm with a bias, RMSNorm without, in float64."""
    x = x.double()
    if norm.bias is None:
        return F.rms_norm(x, x.shape[1:], norm.weight.double(), norm.eps)
    return F.layer_norm(x, x.shape[1:], norm.weight.double(), norm.bias.double(), norm.eps)


@repeat
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 300),
    kind=st.sampled_from(("layer", "rms")),
    dtype=st.sampled_from(DTYPES),
    shift=st.sampled_from((0.0, 30.0)),
)
def test_norms_agree_with_float64(rows: int, columns: int, kind: str, dtype: torch.dtype, shift: float) -> None:
    weight, bias = random(2, columns, seed=columns, dtype=dtype)
    norm = FusedNorm(weight, bias if kind == "layer" else None, 1e-5)
    x = (random(rows, columns, seed=rows) + shift).to(dtype)
    values = assert_same_in_all_sets(lambda: dequantised(x, norm))
    wanted = normalised(x, norm)
    step = wanted.abs().amax(1, keepdim=True) / 127
    assert ((values.double() - wanted).abs() <= step * 0.501 + wanted.abs() * 1e-5 + shift * 3e-6).all()


def dequantised(x: Tensor, norm: FusedNorm) -> Tensor:
    values, scales = quantize_rows(x, norm.structure)
    assert not values[:, x.shape[1] :].any()  # the padding
    return (values * scales[:, None])[:, : x.shape[1]]


def test_a_norm_before_few_rows_is_that_before_many() -> None:
    """Each block of columns has a scale of its own there, so that the product is a little nearer."""
    weight, bias = random(2, 256, seed=1)
    norm = FusedNorm(weight, bias, 1e-5)
    x, matrix = random(5, 256, seed=2), random_int8(40, 256, 3)
    y = assert_same_in_all_sets(lambda: run(pack(matrix), x, norm=norm))
    wanted = normalised(x, norm) @ matrix.dequantize(torch.float64).T
    assert (y.double() - wanted).square().mean().sqrt() < 0.01 * wanted.square().mean().sqrt()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("biased", [True, False])
def test_a_norm_keeps_nan_and_infinity(bad: float, biased: bool) -> None:
    norm = FusedNorm(torch.ones(130), torch.zeros(130) if biased else None, 1e-5)
    x = random(3, 130, seed=1)
    x[1, 129] = bad
    y = assert_same_in_all_sets(lambda: run(pack(random_int8(20, 130, 2)), x, norm=norm))
    assert not y[1].isfinite().any()
    assert y[[0, 2]].isfinite().all()


def identity(size: int) -> PackedMatrix:
    return pack(Int8(torch.eye(size, dtype=torch.int8), torch.ones(size)))


def exact_inputs(dtype: torch.dtype) -> Tensor:
    """(rows, 128): multiples of a row's 127th part from -127 to 127 of it, which rounding to int8 keeps."""
    units = torch.tensor([2.0**power for power in range(-20, 8)])
    numbers = torch.arange(-127, 129, 2)
    return torch.stack([numbers[:128] * unit for unit in units]).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu(dtype: torch.dtype) -> None:
    x = exact_inputs(dtype)
    y = assert_same_in_all_sets(lambda: run(identity(128), x, activation=GELU))
    wanted = F.gelu(x.double(), approximate="tanh")
    assert ((y.double() - wanted).abs() <= wanted.abs() * torch.finfo(dtype).eps * 4 + 2e-7 * x.double().abs()).all()


@pytest.mark.parametrize("factor", [1e10, 1e20, 1e34])
def test_gelu_of_huge_numbers_is_their_positive_part(factor: float) -> None:
    x = exact_inputs(torch.float32)[-1:] * factor
    y = assert_same_in_all_sets(lambda: run(identity(128), x, activation=GELU))
    assert ((y - x.clamp(min=0)).abs() <= y.abs() * 1e-6 + x.abs() * 7e-39).all()


@repeat
@given(rows=st.integers(1, 16), outputs=st.integers(1, 40), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 1000))
def test_silu_gate_and_residual(rows: int, outputs: int, dtype: torch.dtype, seed: int) -> None:
    weight = random_int4(outputs, 128, 64, seed)
    x, gate, residual = (random(rows, columns, seed=seed, dtype=dtype) for columns in (128, outputs, outputs))
    gate *= 30
    packed = pack(weight)
    y = assert_same_in_all_sets(lambda: run(packed, x, activation=MULTIPLY_BY_SILU, gate=gate, residual=residual))
    product, magnitudes = few_rows(weight, x)
    silu = F.silu(gate.double())
    wanted = product * silu + residual.double()
    magnitudes = magnitudes * silu.abs() * 2 + residual.double().abs() + 1e-5
    assert ((y.double() - wanted).abs() <= tolerance(wanted, magnitudes, dtype)).all()


def test_a_residual_may_be_the_output_itself() -> None:
    weight, x, y = random_int8(50, 64, 1), random(3, 64, seed=2), random(3, 50, seed=3)
    wanted = y + KernelLinear(weight, None)(x)
    packed = pack(weight)
    step = linear_step(packed, None, x, y, residual=y)
    library = kernels().library
    assert library is not None
    library.mdtool_run_linears(byref(step), c_int64(1), c_int64(3), c_int32(2))
    assert torch.equal(y, wanted)


@pytest.mark.parametrize("rows", [1, 5])
def test_gates_of_any_size(rows: int) -> None:
    """Where e^-x would overflow or vanish."""
    gate = torch.tensor([0.0, 1e-40, -1e-40, 20, -20, 90, -90, 1e30, -1e30, 3e38, -3e38]).expand(rows, -1).contiguous()
    x = torch.full((rows, 128), 1.0)
    weight = pack(Int8(torch.ones(11, 128, dtype=torch.int8), torch.ones(11)))
    y = assert_same_in_all_sets(lambda: run(weight, x / 128, activation=MULTIPLY_BY_SILU, gate=gate))
    assert ((y - F.silu(gate)).abs() <= y.abs() * 1e-5 + gate.abs() * 7e-39 + 1e-36).all()
