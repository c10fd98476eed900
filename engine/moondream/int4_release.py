"""The packed weights of Moondream's int4 release.

A matrix (rows, columns), in row-major order, is split into groups of 128 values, each with its own scale and zero
point. Row r of the packed bytes holds two groups: r in the high nibbles, and r + groups / 2 in the low ones. A weight
is (nibble - zero point) * scale.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.checkpoints.packings import Packing
from engine.checkpoints.reader import Shape
from engine.quantization.formats import Int4, Matrix

GROUP = 128


def packed_shapes(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a packed matrix's tensors, by the suffix of their names.

    Args:
        shape: Of the unpacked matrix, (rows, columns).

    Raises:
        ValueError: A matrix of this size can't be packed.
    """
    rows, columns = shape
    groups, rest = divmod(rows * columns, GROUP)
    if rest or groups % 2:
        raise ValueError(
            f"can't quantise a {rows} x {columns} matrix to int4: its size must be a multiple of {2 * GROUP}"
        )
    return {"packed": (groups // 2, GROUP), "scale": (groups, 1), "zero_point": (groups, 1)}


def unpack(packed: Tensor, scale: Tensor, zero_point: Tensor, *, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Dequantise a matrix.

    Args:
        packed: (groups / 2, 128), uint8.
        scale: (groups, 1), any float type.
        zero_point: (groups, 1), any float type.
        shape: Of the matrix, (rows, columns).
        dtype: Of the arithmetic and the result; each step is rounded to it, as in the reference.
    """
    return _nibbles(packed).to(dtype).sub_(zero_point).mul_(scale).reshape(shape)


def as_int4(packed: Tensor, scale: Tensor, zero_point: Tensor, shape: tuple[int, ...]) -> Int4 | None:
    """Repack a matrix losslessly for the int4 kernels; None where a group spans two rows."""
    rows, columns = shape
    if columns % GROUP:
        return None
    first, second = _nibbles(packed).view(rows, columns).chunk(2, dim=1)
    return Int4(first | second << 4, scale.view(rows, -1), zero_point.view(rows, -1), exact=True)


def _nibbles(packed: Tensor) -> Tensor:
    """Unpack to (groups, 128) uint8."""
    return torch.cat([packed >> 4, packed & 15])


def _matrix(parts: Mapping[str, Tensor], shape: Shape, dtype: torch.dtype) -> Matrix:
    packed, scale, zero_point = (parts[part] for part in INT4_RELEASE.dtypes)
    repacked = as_int4(packed, scale, zero_point, shape)
    return unpack(packed, scale, zero_point, shape=shape, dtype=dtype) if repacked is None else repacked


INT4_RELEASE = Packing(
    4,
    {"packed": torch.uint8, "scale": None, "zero_point": None},
    lambda shape, stored: packed_shapes(shape),
    _matrix,
)
