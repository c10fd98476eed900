"""Products with weights in 4 and 8 bits: as near as the bits allow, and for each row the same with any others."""

from dataclasses import replace

import pytest
import torch
from golden import needs_compiler
from torch import Tensor

from engine.kernels.library import kernels
from engine.layers.activations import gelu_
from engine.layers.int4_linear import LARGE_BATCH_ROWS, Int4Linear, has_int4_gemm, packed_block_rows
from engine.layers.int8_linear import Int8Linear, has_int8_gemm, quantize_rows, quantize_rows_compiled
from engine.layers.kernel_linear import KernelLinear
from engine.layers.linear import Linear, LinearLayer
from engine.layers.linear_dispatch import make_linear
from engine.quantization.formats import Int4, Int8, quantize_int4, quantize_int8

DTYPES = (torch.float32, torch.bfloat16)
FEW_AND_MANY = (1, 3, LARGE_BATCH_ROWS - 1, LARGE_BATCH_ROWS, 130)

needs_int8 = pytest.mark.skipif(not has_int8_gemm(), reason="this CPU has no fast products of bytes")
needs_int4 = pytest.mark.skipif(packed_block_rows() is None, reason="this CPU has no products with 4 bits")


def made(rows: int, columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(rows * columns)
    return torch.randn(rows, columns, generator=generator).mul(columns**-0.25).to(dtype)


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def int4_names(rows: int, columns: int, group: int, exact: bool) -> Int4:
    kept = quantize_int4(made(rows, columns), group)
    if not exact:
        return kept
    # as a release may have them: zero points between two nibbles, and scales of any float
    return replace(kept, scale=kept.scale.float() * 1.003, zero=kept.zero.float() + 0.3, exact=True)


@needs_int4
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("inputs", "outputs", "group"),
    [(256, 128, 128), (320, 192, 64), (96, 64, 32), (2048, 576, 128), (4096, 64, 32), (4304, 64, 128)],
)
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_four_bits_agree_with_the_weights_that_they_stand_for(
    dtype: torch.dtype, inputs: int, outputs: int, group: int, exact: bool, fused: bool
) -> None:
    weight, bias = int4_names(outputs, inputs, group, exact), made(1, outputs, dtype)[0]
    linear = Int4Linear(weight, bias, dtype)
    for rows in FEW_AND_MANY:
        x = made(rows, inputs, dtype)
        wanted = x.double() @ weight.dequantize(torch.float64).T + bias.double()
        scale = wanted.square().mean().sqrt()
        y = linear(x, gelu=fused).double()
        assert y.shape == (rows, outputs)
        error = (y - (gelu(wanted) if fused else wanted)).square().mean().sqrt() / scale
        bytes_ = rows >= LARGE_BATCH_ROWS and not exact and has_int8_gemm()
        assert error < (0.015 if bytes_ else 2e-6 if dtype == torch.float32 else 5e-3), (rows, float(error))


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 48), (1152, 4304), (130, 70), (4304, 1152)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_eight_bits_agree_with_the_weights_that_they_stand_for(
    dtype: torch.dtype, inputs: int, outputs: int, biased: bool, fused: bool
) -> None:
    weight, bias = quantize_int8(made(outputs, inputs)), made(1, outputs, dtype)[0] if biased else None
    linear = Int8Linear(weight, bias)
    for rows in FEW_AND_MANY:
        x = made(rows, inputs, dtype)
        wanted = x.double() @ weight.dequantize(torch.float64).T + (bias.double() if bias is not None else 0)
        error = linear(x, gelu=fused).double() - (gelu(wanted) if fused else wanted)
        assert error.square().mean().sqrt() < 0.015 * wanted.square().mean().sqrt()


def linears(dtype: torch.dtype) -> dict[str, LinearLayer]:
    bias = made(1, 192, dtype)[0]
    return {
        "4 bits": Int4Linear(int4_names(192, 512, 128, False), bias, dtype),
        "4 bits, exact": Int4Linear(int4_names(192, 512, 128, True), bias, dtype),
        "8 bits": Int8Linear(quantize_int8(made(192, 512)), bias),
    }


@needs_int4
@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("which", ["4 bits", "4 bits, exact", "8 bits"])
def test_a_row_is_the_same_to_the_last_bit_with_any_others(dtype: torch.dtype, fused: bool, which: str) -> None:
    """As long as it goes through the same kernel: few rows through one, many through another."""
    linear, x = linears(dtype)[which], made(200, 512, dtype)
    x[7] *= 1000  # another row's greatest must not matter
    few = linear(x[: LARGE_BATCH_ROWS - 1], fused)
    for rows in range(1, LARGE_BATCH_ROWS):
        assert torch.equal(linear(x[:rows], fused), few[:rows])
    if which == "4 bits, exact":
        return  # its many rows are a plain product
    many = linear(x, fused)
    for first in (0, 3, 100):
        assert torch.equal(
            linear(x[first : first + LARGE_BATCH_ROWS + 11], fused), many[first : first + LARGE_BATCH_ROWS + 11]
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("signed", [True, False])
def test_rows_in_bytes(dtype: torch.dtype, signed: bool) -> None:
    x = made(150, 300, dtype)
    x[3], x[4, 5], x[149] = 0, 1e4, x[149] * 1e-6
    numbers, units = quantize_rows(x, signed)
    back = (numbers.double() - (0 if signed else 128)) * units.double()
    assert (back - x.double()).abs().le(units.double() * 0.51).all()
    assert (numbers[3] == (0 if signed else 128)).all()


@pytest.mark.compile
@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("signed", [True, False])
def test_rows_in_bytes_are_the_same_by_compiled_code(dtype: torch.dtype, signed: bool) -> None:
    for rows, columns in ((130, 256), (LARGE_BATCH_ROWS, 300), (LARGE_BATCH_ROWS - 1, 300), (131, 131)):
        x = made(rows, columns, dtype)
        x[3], x[4, 5], x[-1] = 0, 1e4, x[-1] * 1e-6
        for mine, wanted in zip(quantize_rows_compiled(x, signed), quantize_rows(x, signed), strict=True):
            assert torch.equal(mine, wanted)
            assert mine.dtype == wanted.dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_by_the_sigmoid(dtype: torch.dtype) -> None:
    x = torch.linspace(-12, 12, 150 * 33).view(150, 33).to(dtype)
    wanted = gelu(x.double())
    y = gelu_(x.clone())
    assert y.dtype == dtype
    allowed = torch.finfo(dtype).eps * wanted.abs() + 1e-6
    assert ((y.double() - wanted).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [quantize_int4, quantize_int8])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("outputs", [128, 70])
def test_what_has_no_kernel_is_restored(dtype: torch.dtype, kind: object, packed: bool, outputs: int) -> None:
    assert callable(kind)
    kept = kind(made(outputs, 256))
    linear = make_linear(kept, None, dtype, packed=packed)
    fast = packed and dtype != torch.float16
    if fast and kernels().library:
        assert isinstance(linear, KernelLinear)
    elif isinstance(kept, Int8):
        assert isinstance(linear, Int8Linear if fast and has_int8_gemm() else Linear)
    else:
        assert isinstance(linear, Int4Linear if fast and has_int4_gemm(kept) else Linear)
    x = made(5, 256, dtype)
    wanted = x.double() @ kept.dequantize(torch.float64).T
    assert (linear(x).double() - wanted).square().mean().sqrt() < 0.015 * wanted.square().mean().sqrt()
