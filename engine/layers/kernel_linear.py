"""Linear layers through our own CPU kernels (`engine.kernels`): int4, int8, blocks of a GGUF file, small bfloat16.

Few rows are bound by memory bandwidth: one pass over the weights serves up to four of them. Many rows are bound by
arithmetic: torch's int8 GEMM, with the weights widened to int8 before it, a chunk of output rows at a time so that it
stays in the CPU cache. In both, activations are quantised to int8: for few rows with a scale a block of 128 columns,
for many with one a row. On a CPU without VNNI, whose int8 GEMM may saturate, many rows are multiplied as few.

Small bfloat16 matrices have one kernel for any number of rows: a call takes less time than torch's, and a whole model's
layers are one (`engine.generation.fused_decoder`).
"""

import torch
from torch import Tensor

from engine.kernels.library import kernels
from engine.kernels.operators import few_rows_linear
from engine.kernels.packed import PANEL, finish, pack, quantize_rows, widen
from engine.kernels.structures import BFLOAT16_PAIRS, GELU, GGUF_FORMATS, INT8, NO_ACTIVATION
from engine.layers.int8_linear import has_int8_gemm
from engine.quantization.formats import GROUP_SIZES, Int4, Matrix
from engine.quantization.gguf_blocks import GgufBlocks

LARGE_BATCH_ROWS = 64  # rows from which a GEMM is faster
SMALL = 1 << 18  # weights of a bfloat16 matrix, up to which torch's overhead costs more than its kernels gain
_CHUNK_WEIGHTS = 1 << 22  # weights that are widened before they are multiplied


def has_kernel(weight: Matrix) -> bool:
    """Return whether our kernels are in use, and multiply with this matrix."""
    if kernels().library is None:
        return False
    if isinstance(weight, Tensor):
        small = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and weight.numel() <= SMALL
        return small and weight.shape[0] % PANEL == 0 and weight.shape[1] % 2 == 0
    if isinstance(weight, GgufBlocks):
        return weight.raw.device.type == "cpu" and weight.type.name in GGUF_FORMATS and not weight.exact
    if isinstance(weight, Int4) and (weight.exact or weight.group_size not in GROUP_SIZES):
        return False
    return weight.scale.device.type == "cpu"


class KernelLinear:
    """A linear layer y = x W^T + b; only for weights that `has_kernel` accepts."""

    def __init__(self, weight: Matrix, bias: Tensor | None) -> None:
        """Copy the weights into the kernels' layout; blocks of a GGUF file are read where they lie.

        Args:
            weight: W, (out, in).
            bias: (out) or None, of the dtype of the activations.
        """
        self.weight = pack(weight)
        self.bias = None if bias is None else bias.contiguous()

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """Return the output (rows, out) for x: (rows, in) bfloat16 or float32; with `gelu`, after GELU (tanh)."""
        activation = GELU if gelu else NO_ACTIVATION
        if self.weight.format == BFLOAT16_PAIRS or x.shape[0] < LARGE_BATCH_ROWS or not has_int8_gemm():
            return few_rows_linear(self.weight, self.bias, x, activation)
        return self._large_batch(x, activation)

    def _large_batch(self, x: Tensor, activation: int) -> Tensor:
        weight = self.weight
        values, x_scales = quantize_rows(x)
        y = x.new_empty(x.shape[0], weight.rows)
        step = weight.rows if weight.format == INT8 else max(1, _CHUNK_WEIGHTS // weight.padded_columns)
        for first in range(0, weight.rows, step):
            chunk, scales = self._int8_rows(first, min(first + step, weight.rows))
            sums = torch._int_mm(values, chunk.T)
            finish(sums, x_scales, scales, self.bias, y=y, column=first, activation=activation)
        return y

    def _int8_rows(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        weight = self.weight
        if weight.format == INT8 and weight.scales is not None:
            return weight.values[begin:end], weight.scales[begin:end]
        values = torch.empty(end - begin, weight.padded_columns, dtype=torch.int8)
        scales = torch.empty(end - begin)
        widen(weight, begin, end, values=values, scales=scales)
        return values, scales
