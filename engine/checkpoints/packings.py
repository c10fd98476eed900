"""Storage formats of quantised matrices in checkpoints: several tensors, its parts, for each matrix."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.checkpoints.reader import Shape
from engine.checkpoints.row_table import FileRows
from engine.quantization.formats import GROUP_SIZES, Int4, Int8, Matrix


@dataclass(frozen=True)
class Packing:
    """A storage format of quantised matrices.

    Attributes:
        bits: Per weight.
        dtypes: Suffix of a part's name -> its dtype, None for any float type. The first suffix identifies the format.
        shapes: (shape of the matrix, shapes of the stored parts) -> the shapes that the parts must have; raises
            ValueError for a matrix that can't be stored in this format.
        matrix: (parts by suffix, shape, dtype) -> the matrix; of that dtype if it can't stay quantised.
    """

    bits: int
    dtypes: Mapping[str, torch.dtype | None]
    shapes: Callable[[Shape, Mapping[str, Shape]], Mapping[str, Shape]]
    matrix: Callable[[Mapping[str, Tensor], Shape, torch.dtype], Matrix]

    @property
    def key_suffix(self) -> str:
        """The suffix that identifies the format."""
        return next(iter(self.dtypes))


@dataclass(frozen=True)
class PackedRows:
    """A quantised matrix whose parts have the same rows as itself; see `RowTable`."""

    packing: Packing
    parts: Mapping[str, FileRows]
    shape: tuple[int, ...]
    is_quantized = True

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        return sum(part.nbytes for part in self.parts.values())

    def rows(self, which: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return rows, dequantised. Raises as `FileRows.rows` does."""
        parts = {name: part.rows(which, part.dtype) for name, part in self.parts.items()}
        matrix = self.packing.matrix(parts, (len(which), self.shape[1]), dtype)
        return matrix if isinstance(matrix, Tensor) else matrix.dequantize(dtype)


def _int4_shapes(shape: Shape, stored: Mapping[str, Shape]) -> Mapping[str, Shape]:
    rows, columns = shape
    sizes = [size for size in GROUP_SIZES if columns % size == 0] or GROUP_SIZES  # the latter with padding
    candidates = [
        {"nibbles": (rows, -(-columns // size) * size // 2), "scale": (rows, -(-columns // size))} for size in sizes
    ]
    fitting = next((shapes for shapes in candidates if shapes["scale"] == stored.get("scale")), candidates[0])
    return {**fitting, "zero": fitting["scale"]}


def _int4(parts: Mapping[str, Tensor], shape: Shape, dtype: torch.dtype) -> Matrix:
    padding = 2 * parts["nibbles"].shape[1] - shape[1]
    return Int4(parts["nibbles"], parts["scale"], parts["zero"], padding=padding)


# Written by `engine.checkpoints.conversion`: the tensors of `Int4` and `Int8` under their attribute names.
INT4 = Packing(
    4,
    {"nibbles": torch.uint8, "scale": None, "zero": None},
    _int4_shapes,
    _int4,
)
INT8 = Packing(
    8,
    {"values": torch.int8, "scale": None},
    lambda shape, stored: {"values": shape, "scale": shape[:1]},
    lambda parts, shape, dtype: Int8(parts["values"], parts["scale"]),
)


def packed_parts(matrix: Int4 | Int8) -> dict[str, Tensor]:
    """Return the parts of a matrix by suffix, in the format `INT4` or `INT8`."""
    packing = INT4 if isinstance(matrix, Int4) else INT8
    return {part: getattr(matrix, part) for part in packing.dtypes}
