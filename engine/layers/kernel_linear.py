"""Linear layers through our own CPU kernels (`engine.kernels`): int4, int8, as a GGUF file has them, small bfloat16.

Few rows are bound by memory bandwidth: one pass over the weights serves up to four of them. Many rows are bound by
arithmetic: our int8 GEMM, which widens the weights as it goes, or without AVX-512, or with matrix units (AMX), torch's,
with the weights widened before it, a chunk of output rows at a time so that it stays in the CPU cache; both give the
same bits. For few and for many, activations are quantised to int8: for few rows with a scale a block of 128 columns,
for many with one a row. On a CPU without VNNI, whose int8 GEMM may saturate, many rows are multiplied as few.

Weights in float16 or bfloat16 stay so in memory. Few rows are multiplied with them in float32; for many, a chunk of the
weights at a time is converted to the dtype of the activations, for torch's GEMM.
Small bfloat16 matrices have one kernel for any number of rows: a call takes less time than torch's, and a whole model's
layers are one (`engine.generation.fused_decoder`).
"""

import torch
from torch import Tensor

from engine.kernels.library import kernels
from engine.kernels.operators import few_rows_linear
from engine.kernels.packed import PANEL, convert, finish, has_gemm, multiply_many_rows, pack, quantize_rows, widen
from engine.kernels.structures import BFLOAT16_PAIRS, FLOAT_FORMATS, GELU, GGUF_FORMATS, INT8, NO_ACTIVATION, Norm
from engine.layers.int8_linear import has_int8_gemm
from engine.layers.linear import large_gemm
from engine.quantization.formats import GROUP_SIZES, Int4, Matrix
from engine.quantization.gguf_blocks import GgufBlocks

LARGE_BATCH_ROWS = 64  # rows from which a GEMM is faster
SMALL = 1 << 18  # weights of a bfloat16 matrix, up to which torch's overhead costs more than its kernels gain
_CHUNK_WEIGHTS = 1 << 22  # weights that are widened before they are multiplied
_CHUNK_FLOATS = 1 << 23  # the same of floats


def has_kernel(weight: Matrix) -> bool:
    """Return whether our kernels are in use, and multiply with this matrix."""
    if kernels().library is None:
        return False
    if isinstance(weight, Tensor):
        small = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and weight.numel() <= SMALL
        return small and weight.shape[0] % PANEL == 0 and weight.shape[1] % 2 == 0
    if isinstance(weight, GgufBlocks):
        known = FLOAT_FORMATS if weight.exact else FLOAT_FORMATS | GGUF_FORMATS
        return weight.raw.device.type == "cpu" and weight.type.name in known
    if isinstance(weight, Int4) and (weight.exact or weight.group_size not in GROUP_SIZES):
        return False
    return weight.scale.device.type == "cpu"


class KernelLinear:
    """A linear layer y = x W^T + b; only for weights that `has_kernel` accepts."""

    def __init__(self, weight: Matrix, bias: Tensor | None) -> None:
        """Copy the weights into the kernels' layout; those of a GGUF file are read where they lie.

        Args:
            weight: W, (out, in).
            bias: (out) or None, of the dtype of the activations.
        """
        self.weight = pack(weight)
        self.bias = None if bias is None else bias.contiguous()

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """Return the output (rows, out) for x: (rows, in) bfloat16 or float32; with `gelu`, after GELU (tanh)."""
        activation = GELU if gelu else NO_ACTIVATION
        if x.shape[0] >= LARGE_BATCH_ROWS and self.has_floats:
            return self._large_float_batch(x, gelu)
        if not self.uses_gemm(x):
            return few_rows_linear(self.weight, self.bias, x, activation)
        return self.large_batch(x, activation)

    @property
    def has_floats(self) -> bool:
        """Whether the weights are floats, which are multiplied without rounding the activations."""
        return self.weight.format in FLOAT_FORMATS.values()

    def uses_gemm(self, x: Tensor) -> bool:
        """Return whether x has enough rows for `large_batch`."""
        is_float = self.has_floats or self.weight.format == BFLOAT16_PAIRS
        return x.shape[0] >= LARGE_BATCH_ROWS and has_int8_gemm() and not is_float

    def large_batch(
        self, x: Tensor, activation: int, *, norm: Norm | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """Return activation(norm(x) W^T + b) + residual by int8 GEMM.

        Args:
            x: (rows, in), bfloat16 or float32.
            activation: See `engine.kernels.structures`.
            norm: None for no normalisation.
            residual: (rows, out), of the dtype of x, or None.

        Returns:
            (rows, out).
        """
        weight = self.weight
        values, x_scales = quantize_rows(x, norm)
        y = x.new_empty(x.shape[0], weight.rows)
        if has_gemm():
            multiply_many_rows(weight, self.bias, values, x_scales, y=y, activation=activation, residual=residual)
            return y
        step = weight.rows if weight.format == INT8 else max(1, _CHUNK_WEIGHTS // weight.padded_columns)
        for first in range(0, weight.rows, step):
            chunk, scales = self._int8_rows(first, min(first + step, weight.rows))
            sums = torch._int_mm(values, chunk.T)
            finish(sums, x_scales, scales, self.bias, y=y, column=first, activation=activation, residual=residual)
        return y

    def _large_float_batch(self, x: Tensor, gelu: bool) -> Tensor:
        weight, parts = self.weight, []
        step = max(1, _CHUNK_FLOATS // weight.columns)
        for first in range(0, weight.rows, step):
            end = min(first + step, weight.rows)
            rows = convert(weight, first, end, x.new_empty(end - first, weight.columns))
            bias = None if self.bias is None else self.bias[first:end]
            parts.append(large_gemm(x, rows, bias, gelu))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _int8_rows(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        weight = self.weight
        if weight.format == INT8 and weight.scales is not None:
            return weight.values[begin:end], weight.scales[begin:end]
        values = torch.empty(end - begin, weight.padded_columns, dtype=torch.int8)
        scales = torch.empty(end - begin)
        widen(weight, begin, end, values=values, scales=scales)
        return values, scales
