"""How a checkpoint holds matrices in few bits: several tensors in the place of each, its parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.checkpoints.reader import Shape
from engine.quantization.formats import GROUP_SIZES, Int4, Int8, Matrix


@dataclass(frozen=True)
class Packing:
    """One way to do so.

    dtypes: ending of a part's name -> its type, None for any float type; the first ending tells the packing.
    shapes: (shape of the matrix, shapes of the parts that are stored) -> the shapes that the parts must have.
    ValueError for a matrix that can't be packed so.
    matrix: (parts by their endings, shape, dtype) -> the matrix; in that dtype if it can't stay in few bits.
    """

    bits: int
    dtypes: Mapping[str, torch.dtype | None]
    shapes: Callable[[Shape, Mapping[str, Shape]], Mapping[str, Shape]]
    matrix: Callable[[Mapping[str, Tensor], Shape, torch.dtype], Matrix]

    @property
    def key_suffix(self) -> str:
        """The ending that only this packing's parts have."""
        return next(iter(self.dtypes))


def _int4_shapes(shape: Shape, stored: Mapping[str, Shape]) -> Mapping[str, Shape]:
    rows, columns = shape
    sizes = [size for size in GROUP_SIZES if columns % size == 0] or [columns]
    groups = [(rows, columns // size) for size in sizes]
    scales = next((of for of in groups if of == stored.get("scale")), groups[0])
    return {"nibbles": (rows, columns // 2), "scale": scales, "zero": scales}


# What `engine.checkpoints.conversion` writes: the tensors of `Int4` and `Int8` under the names that they have there.
INT4 = Packing(
    4,
    {"nibbles": torch.uint8, "scale": None, "zero": None},
    _int4_shapes,
    lambda parts, shape, dtype: Int4(parts["nibbles"], parts["scale"], parts["zero"]),
)
INT8 = Packing(
    8,
    {"values": torch.int8, "scale": None},
    lambda shape, stored: {"values": shape, "scale": shape[:1]},
    lambda parts, shape, dtype: Int8(parts["values"], parts["scale"]),
)


def packed_parts(matrix: Int4 | Int8) -> dict[str, Tensor]:
    """Return the parts of a matrix by their endings, as `INT4` and `INT8` have them."""
    packing = INT4 if isinstance(matrix, Int4) else INT8
    return {part: getattr(matrix, part) for part in packing.dtypes}
