"""Linear layers as int8 GEMM with dynamic per-row activation quantisation, on a CPU (oneDNN).

Each row of x gets its own scale when it is multiplied (vector-wise quantisation, LLM.int8(), Dettmers et al. 2022), so
that a row's result does not depend on the batch; integer sums are exact in any order.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from engine.layers.activations import CHUNK_ELEMENTS, gelu_
from engine.quantization.formats import Int8

_ZERO_POINT = 128  # oneDNN's fast int8 GEMM takes unsigned activations
_MAX_QUANTIZED = 126  # leaves a margin to 127 for the rounding of the scale to its dtype
LARGE_BATCH_ROWS = 64  # rows from which compiled quantisation is faster


@cache
def has_int8_gemm() -> bool:
    """Return whether this CPU has VNNI: int8 GEMM that is faster than float GEMM and does not saturate."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()


def quantize_rows(x: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Quantise activations symmetrically, with a scale per row.

    Args:
        x: (rows, columns).
        signed: Return int8; else uint8 with a zero point of 128.

    Returns:
        The quantised values (rows, columns), and the scales (rows, 1) in the dtype of x.
    """
    dtype = torch.int8 if signed else torch.uint8
    if x.numel() <= CHUNK_ELEMENTS:  # the loop below takes three times as long for a single row
        scale = _scales(x)
        return _divide(x, scale, signed).to(dtype), scale
    values = torch.empty_like(x, dtype=dtype)
    scales = x.new_empty(x.shape[0], 1)
    step = max(1, CHUNK_ELEMENTS // x.shape[1])
    for rows, scale, quantized in zip(x.split(step), scales.split(step), values.split(step), strict=True):
        _scales(rows, out=scale)
        quantized.copy_(_divide(rows, scale, signed))
    return values, scales


def quantize_rows_compiled(x: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Quantise as `quantize_rows`, bit for bit, by compiled code: a third of the time for a large batch.

    For few rows the overhead of a call is larger than the gain.
    """
    if x.shape[0] < LARGE_BATCH_ROWS:
        return quantize_rows(x, signed)
    scales, quantize = _compiled()
    scale = scales(x)
    return quantize(x, scale, signed), scale


@cache
def _compiled() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Two functions: in one, the compiler would use scales that are not rounded to their dtype."""

    def quantize(x: Tensor, scale: Tensor, signed: bool) -> Tensor:
        return _divide(x, scale, signed).to(torch.int8 if signed else torch.uint8)

    return torch.compile(_scales, dynamic=True), torch.compile(quantize, dynamic=True)


def _scales(x: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.div(x.abs().amax(1, keepdim=True), _MAX_QUANTIZED, out=out).clamp_(min=torch.finfo(x.dtype).tiny)


def _divide(x: Tensor, scale: Tensor, signed: bool) -> Tensor:
    """x / scale in float32, rounded, or for uint8 with the zero point and 0.5 for truncation."""
    scaled = x * scale.float().reciprocal()
    return scaled.round_() if signed else scaled.add_(_ZERO_POINT + 0.5)


class Int8Linear:
    """A linear layer y = x W^T + b as int8 GEMM with dynamic per-row activation quantisation.

    Only where `has_int8_gemm`.
    """

    def __init__(self, weight: Int8, bias: Tensor | None, compiled: bool = False) -> None:
        """Prepack the weights.

        Args:
            weight: W, (out, in).
            bias: (out) or None.
            compiled: Whether to compile activation quantisation.
        """
        self.bias = bias
        self.quantize_rows = quantize_rows_compiled if compiled else quantize_rows
        self.weight = torch.ops.onednn.qlinear_prepack(weight.values, None)
        self.scale = weight.scale.float()
        self.zero_points = torch.zeros(len(self.scale), dtype=torch.int32)

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """Return the output (rows, out) for x: (rows, in) bfloat16 or float32; with `gelu`, after GELU (tanh)."""
        values, scale = self.quantize_rows(x, signed=False)
        y = torch.ops.onednn.qlinear_pointwise(
            values, 1.0, _ZERO_POINT, self.weight, self.scale, self.zero_points, None, 1.0, 0, x.dtype, "none", [], ""
        )
        y = y.mul_(scale) if self.bias is None else torch.addcmul(self.bias, y, scale, out=y)
        return gelu_(y) if gelu else y
