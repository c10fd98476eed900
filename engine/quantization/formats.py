"""Matrices in few bits: whole numbers with scales, and the rounding that makes them.

Where a CPU has products for them, `engine.layers.int4_linear` and `int8_linear` compute with them as they are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GROUP_SIZES = (128, 64, 32)  # that torch has products for


@dataclass(frozen=True, eq=False)
class Int4:
    """A weight is (nibble - zero) * scale of its group, a run of weights in a row.

    nibbles: (rows, columns / 2) uint8, of which the low halves are the first half of a row. scale, zero: (rows,
    groups), of any float type. exact: products with it leave the other factor as it is.
    """

    nibbles: Tensor
    scale: Tensor
    zero: Tensor
    exact: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return self.nibbles.shape[0], 2 * self.nibbles.shape[1]

    @property
    def group_size(self) -> int:
        return self.shape[1] // self.scale.shape[1]

    def values(self) -> Tensor:
        """The nibbles, each in a byte: (rows, columns) uint8."""
        return torch.cat([self.nibbles & 15, self.nibbles >> 4], 1)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """(rows, columns), each step of the arithmetic rounded to dtype."""
        rows, columns = self.shape
        weight = self.values().view(rows, -1, self.group_size).to(dtype)
        return weight.sub_(self.zero[..., None]).mul_(self.scale[..., None]).view(rows, columns)


@dataclass(frozen=True, eq=False)
class Int8:
    """A weight is value * scale of its row. values: (rows, columns) int8; scale: (rows), of any float type."""

    values: Tensor
    scale: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """(rows, columns)."""
        return self.rows(slice(None), dtype)

    def rows(self, which: Tensor | slice, dtype: torch.dtype) -> Tensor:
        """Some rows, dequantised."""
        return (self.values[which].float() * self.scale[which].float()[:, None]).to(dtype)


Matrix = Tensor | Int4 | Int8


def group_size_for(columns: int, most: int) -> int:
    """The largest group that divides a row; ValueError if there is none."""
    for size in GROUP_SIZES:
        if size <= most and columns % size == 0:
            return size
    raise ValueError(f"a row of {columns} weights can't be cut into groups of {GROUP_SIZES}")


def quantize_int4(weight: Tensor, group_size: int = GROUP_SIZES[0]) -> Int4:
    """16 values a group, from its least to its greatest. weight: (rows, columns).

    group_size: of so many weights, or of as many fewer as divide a row. ValueError if no size that torch knows does.
    """
    rows, columns = weight.shape
    size = group_size_for(columns, group_size)
    groups = weight.float().view(rows, -1, size)
    low = groups.amin(2).clamp(max=0)
    high = groups.amax(2).clamp(min=0)
    # in bfloat16, as the products of that type take it: what is rounded here is made up for by the nibbles
    scale = ((high - low) / 15).clamp(min=torch.finfo(torch.float32).tiny).bfloat16()
    step = scale.float()
    zero = (-low / step).round().clamp(0, 15)
    values = (groups / step[..., None] + zero[..., None]).round_().clamp_(0, 15).to(torch.uint8).view(rows, columns)
    first, second = values.chunk(2, dim=1)
    return Int4(first | second << 4, scale, zero.bfloat16())


def quantize_int8(weight: Tensor) -> Int8:
    """Each row with a scale of its own, the same on both sides of 0. weight: (rows, columns)."""
    rows = weight.float()
    scale = (rows.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return Int8((rows / scale[:, None]).round_().to(torch.int8), scale)
