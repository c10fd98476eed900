"""Quantised weight matrices, int4 with group-wise and int8 with per-row scales, and round-to-nearest quantisation.

`engine.layers.int4_linear` and `int8_linear` compute with them where a CPU has the kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.quantization.gguf_blocks import GgufBlocks

GROUP_SIZES = (128, 64, 32)  # supported by torch's int4 kernel
QUANTIZED_ROWS = 1024  # at a time: in float32 an output head takes several times the memory of its int8 values


@dataclass(frozen=True, eq=False)
class Int4:
    """An int4 matrix: weight = (nibble - zero) * scale, with scale and zero point per group of weights in a row.

    Attributes:
        nibbles: (rows, columns / 2) uint8; low nibbles are the first half of a row, high nibbles the second.
        scale: (rows, groups), of any float type.
        zero: (rows, groups), of any float type.
        padding: Columns at the end that are not part of the matrix: they complete a group.
        exact: Whether activations must not be quantised when they are multiplied with it.
    """

    nibbles: Tensor
    scale: Tensor
    zero: Tensor
    exact: bool = False
    padding: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.nibbles.shape[0], 2 * self.nibbles.shape[1] - self.padding

    @property
    def group_size(self) -> int:
        """The number of weights in a group."""
        return 2 * self.nibbles.shape[1] // self.scale.shape[1]

    def values(self) -> Tensor:
        """Return the unpacked nibbles: (rows, columns with padding) uint8."""
        return torch.cat([self.nibbles & 15, self.nibbles >> 4], 1)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """Return the weights (rows, columns), computed in this dtype."""
        rows, columns = self.shape
        weight = self.values().view(rows, -1, self.group_size).to(dtype)
        return weight.sub_(self.zero[..., None]).mul_(self.scale[..., None]).view(rows, -1)[:, :columns].contiguous()

    def rows(self, which: Tensor | slice, dtype: torch.dtype) -> Tensor:
        """Return some rows, dequantised."""
        kept = replace(self, nibbles=self.nibbles[which], scale=self.scale[which], zero=self.zero[which])
        return kept.dequantize(dtype)


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


def groups_for(columns: int, most: int) -> tuple[int, int]:
    """Return the size of groups up to `most`, and the padding of a row to whole groups.

    The size is the largest that divides a row; where none does, `most`.
    """
    size = next((size for size in GROUP_SIZES if size <= most and columns % size == 0), most)
    return size, -columns % size


def quantize_int4(weight: Tensor, group_size: int = GROUP_SIZES[0]) -> Int4:
    """Quantise a matrix to int4, asymmetrically: the 16 levels of a group span its least to its greatest weight.

    Args:
        weight: (rows, columns).
        group_size: Largest group size; see `groups_for`.
    """
    rows, columns = weight.shape
    size, padding = groups_for(columns, group_size)
    groups = F.pad(weight.float(), (0, padding)).view(rows, -1, size)
    low = groups.amin(2).clamp(max=0)
    high = groups.amax(2).clamp(min=0)
    # in bfloat16, as the bfloat16 kernels use it: rounding the scale first lets the nibbles compensate for its error
    scale = ((high - low) / 15).clamp(min=torch.finfo(torch.float32).tiny).bfloat16()
    step = scale.float()
    zero = (-low / step).round().clamp(0, 15)
    values = (groups / step[..., None] + zero[..., None]).round_().clamp_(0, 15).to(torch.uint8).view(rows, -1)
    first, second = values.chunk(2, dim=1)
    return Int4(first | second << 4, scale, zero.bfloat16(), padding=padding)


def quantize_int8(weight: Tensor) -> Int8:
    """Quantise a matrix (rows, columns) to int8, symmetrically, with a scale per row."""
    values, scale = torch.empty_like(weight, dtype=torch.int8), torch.empty(len(weight), 1, device=weight.device)
    chunks = (tensor.split(QUANTIZED_ROWS) for tensor in (weight, values, scale))
    for stored, rounded, row_scale in zip(*chunks, strict=True):
        rows = stored.float()
        row_scale.copy_(_int8_scale(rows))
        rounded.copy_((rows / row_scale).round_())
    return Int8(values, scale[:, 0])


def rounded_to_int8(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what `quantize_int8(weight).dequantize(dtype)` does, in half the operations: few rows cost no more."""
    rows = weight.float()
    scale = _int8_scale(rows)
    return (rows / scale).round_().add_(_ZERO).mul_(scale).to(dtype)  # the sum because int8 has no -0


_ZERO = torch.zeros(())  # as a tensor, which adds in a quarter of the time that a number takes


def _int8_scale(rows: Tensor) -> Tensor:
    """Return the scale of each row, (rows, 1)."""
    return rows.abs().amax(1, keepdim=True).div_(127).clamp_(min=torch.finfo(torch.float32).tiny)
