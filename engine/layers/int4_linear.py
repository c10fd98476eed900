"""The matrix product with weights in 4 bits, x W^T + b.

Few rows are bound by the reading of the weights: torch's packed kernel widens them on the way, and x stays as it is.
Many rows are bound by arithmetic: the weights are brought to 8 bits, some rows of W at a time so that they stay in
the cache, for the product of whole numbers of `engine.layers.int8_linear`; or, where that is not wanted, to floats.
"""

from functools import cache

import torch
from torch import Tensor

from engine.layers.activations import gelu_
from engine.layers.int8_linear import has_int8_gemm, quantize_rows, quantize_rows_compiled
from engine.quantization.formats import Int4

LARGE_BATCH_ROWS = 64  # rows from which widening the weights first is faster
_FRACTION = 64  # of a unit of 8 bits, in which scales are told in 16
_AT_ONCE = 1 << 22  # weights that are widened before they are used


@cache
def packed_block_rows() -> int | None:
    """Rows of W that lie together in torch's packed layout; None where it has no such kernel, or another layout."""
    drawn = torch.randint(16, (64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    try:
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(drawn, 1)
    except (AttributeError, RuntimeError):
        return None
    return next(
        (block for block in (64, 32) if torch.equal(_packed(drawn.to(torch.uint8), block).view_as(packed), packed)),
        None,
    )


def has_int4_gemm(weight: Int4) -> bool:
    """Whether this CPU has them for a matrix of this shape."""
    block = packed_block_rows()
    return block is not None and weight.shape[0] % block == 0


class Int4Linear:
    """bias: (out) or None. Only for what `has_int4_gemm`."""

    def __init__(self, weight: Int4, bias: Tensor | None, dtype: torch.dtype, compiled: bool = False) -> None:
        block = packed_block_rows()
        assert block is not None
        self.bias, self.group_size = bias, weight.group_size
        self.quantize_rows = quantize_rows_compiled if compiled else quantize_rows
        self.int8_gemm = not weight.exact and has_int8_gemm()
        rows, columns = weight.shape
        self.blocks = _packed(weight.values(), block)
        self.packed = self.blocks.view(rows, columns // 2)
        scale, zero = weight.scale.float(), weight.zero.float()
        # torch's kernel computes (nibble - 8) * scale + middle
        self.affine = torch.stack([scale, (8 - zero) * scale], -1).transpose(0, 1).to(dtype).contiguous()
        self.unit = torch.ones(rows)
        if self.int8_gemm:
            greatest = torch.maximum(zero.abs(), (15 - zero).abs()) * scale
            self.unit = greatest.amax(1) / 127
            scale = (scale / self.unit[:, None] * _FRACTION).round()
            offset = (_FRACTION // 2 - zero * scale).round()
            self.scale, self.offset = (_by_half(x.to(torch.int16), block) for x in (scale, offset))
        else:
            self.scale, self.offset = (_by_half(x, block) for x in (scale, -zero * scale))

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """x: (rows, in) -> (rows, out), through the tanh approximation of GELU if asked."""
        if x.shape[0] >= LARGE_BATCH_ROWS:
            return self._many(x, gelu)
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(x.contiguous(), self.packed, self.group_size, self.affine)
        if self.bias is not None:
            y += self.bias
        return gelu_(y) if gelu else y

    def _many(self, x: Tensor, gelu: bool) -> Tensor:
        y = x.new_empty(x.shape[0], len(self.unit))
        x, unit = self.quantize_rows(x, signed=True) if self.int8_gemm else (x, None)
        blocks, columns, half = self.blocks.shape
        step = max(1, _AT_ONCE // (2 * half * columns))
        for first in range(0, blocks, step):
            some = slice(first, first + step)
            out = slice(2 * half * some.start, 2 * half * some.stop)
            weight = self._widened(some, x.dtype)
            part = x @ weight if unit is None else torch._int_mm(x, weight).mul(self.unit[out]).mul_(unit)
            if self.bias is not None:
                part += self.bias[out]
            y[:, out] = gelu_(part) if gelu else part
        return y

    def _widened(self, some: slice, dtype: torch.dtype) -> Tensor:
        """These blocks of W, transposed, (in, rows) of the dtype: int8 if they go into products of whole numbers."""
        blocks, scale, offset = self.blocks[some], self.scale[some], self.offset[some]
        count, columns, half = blocks.shape
        nibbles = torch.stack([blocks & 15, blocks >> 4], 1)
        wide = nibbles.to(scale.dtype).view(count, 2, -1, self.group_size, half)
        torch.addcmul(offset, wide, scale, out=wide)
        if self.int8_gemm:
            wide >>= _FRACTION.bit_length() - 1
        weight = torch.empty(columns, 2 * count, half, dtype=dtype)
        weight.transpose(0, 1).copy_(wide.view(2 * count, columns, half))
        return weight.flatten(1)


def _packed(values: Tensor, block: int) -> Tensor:
    """(rows, columns) -> (rows / block, columns, block / 2): of each column first the block's upper half, which is in
    the low nibbles, beside its lower half in the high ones."""
    upper, lower = values.view(-1, 2, block // 2, values.shape[1]).unbind(1)
    return (upper | lower << 4).transpose(1, 2).contiguous()


def _by_half(x: Tensor, block: int) -> Tensor:
    """(rows, groups) -> (rows / block, 2, groups, 1, block / 2), as the widened halves of blocks are scaled."""
    return x.view(-1, 2, block // 2, x.shape[1]).transpose(2, 3).unsqueeze(3).contiguous()
