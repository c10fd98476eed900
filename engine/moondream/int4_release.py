"""The 4-bit release's packed matrices.

A matrix (rows, columns), row by row, is cut into groups of 128 values, each with a scale and a zero point of its own.
Row r of the packed bytes holds two groups: r in the high nibbles, and r + groups / 2 in the low ones. A weight is
(nibble - zero point) * scale.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.checkpoints.packings import Packing
from engine.checkpoints.reader import Shape
from engine.quantization.formats import Int4, Matrix

GROUP = 128


def packed_shapes(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of a packed matrix's tensors, by the ending of their names. ValueError for a size that can't be packed."""
    rows, columns = shape
    groups, rest = divmod(rows * columns, GROUP)
    if rest or groups % 2:
        raise ValueError(f"a matrix of {rows} x {columns} has no int4 form: not a multiple of {2 * GROUP} values")
    return {"packed": (groups // 2, GROUP), "scale": (groups, 1), "zero_point": (groups, 1)}


def unpack(packed: Tensor, scale: Tensor, zero_point: Tensor, *, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The matrix of this shape, with the arithmetic done in dtype (each step rounded to it, as in the reference).

    packed: (groups / 2, 128) uint8. scale, zero_point: (groups, 1), any float type.
    """
    return _nibbles(packed).to(dtype).sub_(zero_point).mul_(scale).reshape(shape)


def as_int4(packed: Tensor, scale: Tensor, zero_point: Tensor, shape: tuple[int, ...]) -> Int4 | None:
    """The same without arithmetic; None where a group goes on in another row."""
    rows, columns = shape
    if columns % GROUP:
        return None
    first, second = _nibbles(packed).view(rows, columns).chunk(2, dim=1)
    return Int4(first | second << 4, scale.view(rows, -1), zero_point.view(rows, -1), exact=True)


def _nibbles(packed: Tensor) -> Tensor:
    """(groups, 128) uint8."""
    return torch.cat([packed >> 4, packed & 15])


def _matrix(parts: Mapping[str, Tensor], shape: Shape, dtype: torch.dtype) -> Matrix:
    packed, scale, zero_point = (parts[part] for part in INT4_RELEASE.dtypes)
    as_it_is = as_int4(packed, scale, zero_point, shape)
    return unpack(packed, scale, zero_point, shape=shape, dtype=dtype) if as_it_is is None else as_it_is


INT4_RELEASE = Packing(
    4,
    {"packed": torch.uint8, "scale": None, "zero_point": None},
    lambda shape, stored: packed_shapes(shape),
    _matrix,
)
