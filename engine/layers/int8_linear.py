"""The matrix product with weights in 8 bits, x W^T + b, of whole numbers: x is rounded on the way.

Each row of x gets a scale of its own (dynamic quantisation, as in LLM.int8(), Dettmers et al. 2022), so that a row's
result does not depend on what else is in the batch; sums of whole numbers are exact whatever their order.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from engine.layers.activations import CHUNK_ELEMENTS, gelu_
from engine.quantization.formats import Int8

_MIDDLE = 128  # oneDNN's fast products take x in bytes without a sign
_LARGEST = 126  # of a row's numbers, so that 127 holds them when their unit has been rounded
LARGE_BATCH_ROWS = 64  # rows from which compiled code is faster


@cache
def has_int8_gemm() -> bool:
    """Whether this CPU multiplies bytes faster than floats, and without overflowing on the way."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()


def quantize_rows(x: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """x, rounded to bytes, (rows, columns), and what a unit of each row's is, (rows, 1) of x's type.

    signed: int8; else uint8, in which 128 stands for 0.
    """
    dtype = torch.int8 if signed else torch.uint8
    if x.numel() <= CHUNK_ELEMENTS:  # the loop would take three times as long for a single row
        unit = _units(x)
        return _in_units(x, unit, signed).to(dtype), unit
    numbers = torch.empty_like(x, dtype=dtype)
    units = x.new_empty(x.shape[0], 1)
    step = max(1, CHUNK_ELEMENTS // x.shape[1])
    for rows, unit, made in zip(x.split(step), units.split(step), numbers.split(step), strict=True):
        _units(rows, out=unit)
        made.copy_(_in_units(rows, unit, signed))
    return numbers, units


def quantize_rows_compiled(x: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """The same, to the last bit, in a third of the time where rows are many: a call takes longer than few rows do."""
    if x.shape[0] < LARGE_BATCH_ROWS:
        return quantize_rows(x, signed)
    units, numbers = _compiled()
    unit = units(x)
    return numbers(x, unit, signed), unit


@cache
def _compiled() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Two, since within one function the compiler would go on with units that are not rounded to their type."""

    def numbers(x: Tensor, unit: Tensor, signed: bool) -> Tensor:
        return _in_units(x, unit, signed).to(torch.int8 if signed else torch.uint8)

    return torch.compile(_units, dynamic=True), torch.compile(numbers, dynamic=True)


def _units(x: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.div(x.abs().amax(1, keepdim=True), _LARGEST, out=out).clamp_(min=torch.finfo(x.dtype).tiny)


def _in_units(x: Tensor, unit: Tensor, signed: bool) -> Tensor:
    wide = x * unit.float().reciprocal()
    return wide.round_() if signed else wide.add_(_MIDDLE + 0.5)


class Int8Linear:
    """bias: (out) or None. Only where `has_int8_gemm`."""

    def __init__(self, weight: Int8, bias: Tensor | None, compiled: bool = False) -> None:
        self.bias = bias
        self.quantize_rows = quantize_rows_compiled if compiled else quantize_rows
        self.weight = torch.ops.onednn.qlinear_prepack(weight.values, None)
        self.scale = weight.scale.float()
        self.zeros = torch.zeros(len(self.scale), dtype=torch.int32)

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """x: (rows, in) bfloat16 or float32 -> (rows, out), through the tanh approximation of GELU if asked."""
        numbers, unit = self.quantize_rows(x, signed=False)
        y = torch.ops.onednn.qlinear_pointwise(
            numbers, 1.0, _MIDDLE, self.weight, self.scale, self.zeros, None, 1.0, 0, x.dtype, "none", [], ""
        )
        y = y.mul_(unit) if self.bias is None else torch.addcmul(self.bias, y, unit, out=y)
        return gelu_(y) if gelu else y
