"""Quantised weight matrices, int4 with group-wise and int8 with per-row scales, and round-to-nearest quantisation.

`engine.layers.int4_linear` and `int8_linear` compute with them where a CPU has the kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from engine.quantization.gguf_blocks import GgufBlocks

GROUP_SIZES = (128, 64, 32)  # supported by torch's int4 kernel


@dataclass(frozen=True, eq=False)
class Int4:
    """An int4 matrix: weight = (nibble - zero) * scale, with scale and zero point per group of weights in a row.

    Attributes:
        nibbles: (rows, columns / 2) uint8; low nibbles are the first half of a row, high nibbles the second.
        scale: (rows, groups), of any float type.
        zero: (rows, groups), of any float type.
        exact: Whether activations must not be quantised when they are multiplied with it.
    """

    nibbles: Tensor
    scale: Tensor
    zero: Tensor
    exact: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.nibbles.shape[0], 2 * self.nibbles.shape[1]

    @property
    def group_size(self) -> int:
        """The number of weights in a group."""
        return self.shape[1] // self.scale.shape[1]

    def values(self) -> Tensor:
        """Return the unpacked nibbles: (rows, columns) uint8."""
        return torch.cat([self.nibbles & 15, self.nibbles >> 4], 1)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """Return the weights (rows, columns), computed in this dtype."""
        rows, columns = self.shape
        weight = self.values().view(rows, -1, self.group_size).to(dtype)
        return weight.sub_(self.zero[..., None]).mul_(self.scale[..., None]).view(rows, columns)


@dataclass(frozen=True, eq=False)
class Int8:
    """An int8 matrix: weight = value * scale, with a scale per row.

    Attributes:
        values: (rows, columns) int8.
        scale: (rows), of any float type.
    """

    values: Tensor
    scale: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.values.shape[0], self.values.shape[1]

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """Return the weights (rows, columns)."""
        return self.rows(slice(None), dtype)

    def rows(self, which: Tensor | slice, dtype: torch.dtype) -> Tensor:
        """Return some rows, dequantised."""
        return (self.values[which].float() * self.scale[which].float()[:, None]).to(dtype)


Matrix = Tensor | Int4 | Int8 | GgufBlocks


def concat_rows(matrices: Sequence[Matrix]) -> Matrix | None:
    """Concatenate matrices along their rows; return None if they are of different formats."""
    first = matrices[0]
    if any(type(matrix) is not type(first) or _block_type(matrix) != _block_type(first) for matrix in matrices):
        return None
    if isinstance(first, Tensor):
        return torch.cat([matrix for matrix in matrices if isinstance(matrix, Tensor)])
    names = [f.name for f in fields(first) if isinstance(getattr(first, f.name), Tensor)]
    parts: dict[str, Any] = {name: torch.cat([getattr(matrix, name) for matrix in matrices]) for name in names}
    if isinstance(first, GgufBlocks):
        parts["shape"] = sum(matrix.shape[0] for matrix in matrices), first.shape[1]
    return replace(first, **parts)


def _block_type(matrix: Matrix) -> object:
    return matrix.type.name if isinstance(matrix, GgufBlocks) else None


def group_size_for(columns: int, most: int) -> int:
    """Return the largest group size up to `most` that divides a row.

    Raises:
        ValueError: No supported group size does.
    """
    for size in GROUP_SIZES:
        if size <= most and columns % size == 0:
            return size
    raise ValueError(f"a row of {columns} weights can't be cut into groups of {GROUP_SIZES}")


def quantize_int4(weight: Tensor, group_size: int = GROUP_SIZES[0]) -> Int4:
    """Quantise a matrix to int4, asymmetrically: the 16 levels of a group span its least to its greatest weight.

    Args:
        weight: (rows, columns).
        group_size: Largest group size; a smaller one is used if it does not divide a row.

    Raises:
        ValueError: No supported group size divides a row.
    """
    rows, columns = weight.shape
    size = group_size_for(columns, group_size)
    groups = weight.float().view(rows, -1, size)
    low = groups.amin(2).clamp(max=0)
    high = groups.amax(2).clamp(min=0)
    # in bfloat16, as the bfloat16 kernels use it: rounding the scale first lets the nibbles compensate for its error
    scale = ((high - low) / 15).clamp(min=torch.finfo(torch.float32).tiny).bfloat16()
    step = scale.float()
    zero = (-low / step).round().clamp(0, 15)
    values = (groups / step[..., None] + zero[..., None]).round_().clamp_(0, 15).to(torch.uint8).view(rows, columns)
    first, second = values.chunk(2, dim=1)
    return Int4(first | second << 4, scale, zero.bfloat16())


def quantize_int8(weight: Tensor) -> Int8:
    """Quantise a matrix (rows, columns) to int8, symmetrically, with a scale per row."""
    rows = weight.float()
    scale = (rows.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return Int8((rows / scale[:, None]).round_().to(torch.int8), scale)
