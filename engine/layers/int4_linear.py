"""Linear layers with group-wise int4 weights on a CPU.

Small batches are bound by memory bandwidth: torch's int4 weight-only kernel dequantises the packed weights on the fly.
Large batches are bound by compute: the weights are converted to int8, a chunk of output rows at a time so that it stays
in the CPU cache, for int8 GEMM with dynamic activation quantisation (`engine.layers.int8_linear`), or to floats.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.layers.activations import gelu_
from engine.layers.int8_linear import has_int8_gemm, quantize_rows, quantize_rows_compiled
from engine.quantization.formats import Int4

LARGE_BATCH_ROWS = 64  # rows from which converting the weights first is faster
_FIXED_POINT = 64  # scales and offsets are int16 fixed-point numbers: multiples of 1/64 of an int8 step
_CHUNK_WEIGHTS = 1 << 22  # weights that are converted before they are multiplied


@cache
def packed_block_rows() -> int | None:
    """Return the rows per block of torch's packed int4 layout; None if kernel or layout are not supported."""
    probe = torch.randint(16, (64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    try:
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(probe, 1)
    except (AttributeError, RuntimeError):
        return None
    return next(
        (block for block in (64, 32) if torch.equal(_packed(probe.to(torch.uint8), block).view_as(packed), packed)),
        None,
    )


def has_int4_gemm(weight: Int4) -> bool:
    """Return whether this CPU has an int4 kernel for a matrix of this shape."""
    block = packed_block_rows()
    return block is not None and weight.shape[0] % block == 0


class Int4Linear:
    """A linear layer y = x W^T + b with int4 weights; only for weights that `has_int4_gemm` accepts."""

    def __init__(self, weight: Int4, bias: Tensor | None, dtype: torch.dtype, compiled: bool = False) -> None:
        """Pack the weights.

        Args:
            weight: W, (out, in). If it is `exact`, activations are not quantised.
            bias: (out) or None.
            dtype: Of the activations.
            compiled: Whether to compile activation quantisation.
        """
        block = packed_block_rows()
        assert block is not None
        self.bias, self.group_size, self.padding = bias, weight.group_size, weight.padding
        self.quantize_rows = quantize_rows_compiled if compiled else quantize_rows
        self.int8_gemm = not weight.exact and has_int8_gemm()
        rows, columns = weight.nibbles.shape[0], 2 * weight.nibbles.shape[1]
        self.blocks = _packed(weight.values(), block)
        self.packed = self.blocks.view(rows, columns // 2)
        scale, zero = weight.scale.float(), weight.zero.float()
        # torch's kernel computes (nibble - 8) * scale + offset
        self.affine = torch.stack([scale, (8 - zero) * scale], -1).transpose(0, 1).to(dtype).contiguous()
        self.int8_scale = torch.ones(rows)
        if self.int8_gemm:
            max_abs = torch.maximum(zero.abs(), (15 - zero).abs()) * scale
            self.int8_scale = max_abs.amax(1) / 127
            scale = (scale / self.int8_scale[:, None] * _FIXED_POINT).round()
            offset = (_FIXED_POINT // 2 - zero * scale).round()
            self.scale, self.offset = (_split_halves(x.to(torch.int16), block) for x in (scale, offset))
        else:
            self.scale, self.offset = (_split_halves(x, block) for x in (scale, -zero * scale))

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """Return the output (rows, out) for x: (rows, in); with `gelu`, after GELU (tanh approximation)."""
        if self.padding:
            x = F.pad(x, (0, self.padding))
        if x.shape[0] >= LARGE_BATCH_ROWS:
            return self._large_batch(x, gelu)
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(x.contiguous(), self.packed, self.group_size, self.affine)
        if self.bias is not None:
            y += self.bias
        return gelu_(y) if gelu else y

    def _large_batch(self, x: Tensor, gelu: bool) -> Tensor:
        y = x.new_empty(x.shape[0], len(self.int8_scale))
        x, x_scale = self.quantize_rows(x, signed=True) if self.int8_gemm else (x, None)
        blocks, columns, half = self.blocks.shape
        step = max(1, _CHUNK_WEIGHTS // (2 * half * columns))
        for first in range(0, blocks, step):
            chunk = slice(first, first + step)
            out = slice(2 * half * chunk.start, 2 * half * chunk.stop)
            weight = self._convert(chunk, x.dtype)
            part = x @ weight if x_scale is None else torch._int_mm(x, weight).mul(self.int8_scale[out]).mul_(x_scale)
            if self.bias is not None:
                part += self.bias[out]
            y[:, out] = gelu_(part) if gelu else part
        return y

    def _convert(self, chunk: slice, dtype: torch.dtype) -> Tensor:
        """Return a chunk of blocks of W, transposed: (in, rows) of this dtype, int8 for int8 GEMM."""
        blocks, scale, offset = self.blocks[chunk], self.scale[chunk], self.offset[chunk]
        count, columns, half = blocks.shape
        nibbles = torch.stack([blocks & 15, blocks >> 4], 1)
        wide = nibbles.to(scale.dtype).view(count, 2, -1, self.group_size, half)
        torch.addcmul(offset, wide, scale, out=wide)
        if self.int8_gemm:
            wide >>= _FIXED_POINT.bit_length() - 1
        weight = torch.empty(columns, 2 * count, half, dtype=dtype)
        weight.transpose(0, 1).copy_(wide.view(2 * count, columns, half))
        return weight.flatten(1)


def _packed(values: Tensor, block: int) -> Tensor:
    """Pack (rows, columns) as (rows / block, columns, block / 2): low nibbles hold a block's upper half of rows, high
    nibbles its lower half."""
    upper, lower = values.view(-1, 2, block // 2, values.shape[1]).unbind(1)
    return (upper | lower << 4).transpose(1, 2).contiguous()


def _split_halves(x: Tensor, block: int) -> Tensor:
    """Reshape (rows, groups) to (rows / block, 2, groups, 1, block / 2), to broadcast over unpacked blocks."""
    return x.view(-1, 2, block // 2, x.shape[1]).transpose(2, 3).unsqueeze(3).contiguous()
