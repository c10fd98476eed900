"""The 4-bit release's packed matrices.

A matrix (rows, columns), row by row, is cut into groups of 128 values, each with a scale and a zero point of its own.
Row r of the packed bytes holds two groups: r in the high nibbles, and r + groups / 2 in the low ones. A weight is
(nibble - zero point) * scale.
"""

import torch
from torch import Tensor

GROUP = 128


def packed_shapes(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of a packed matrix's tensors, by the ending of their names. ValueError for a size that can't be packed."""
    rows, columns = shape
    groups, rest = divmod(rows * columns, GROUP)
    if rest or groups % 2:
        raise ValueError(f"a matrix of {rows} x {columns} has no int4 form: not a multiple of {2 * GROUP} values")
    return {"packed": (groups // 2, GROUP), "scale": (groups, 1), "zero_point": (groups, 1)}


def unpack(packed: Tensor, scale: Tensor, zero_point: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The matrix of this shape, with the arithmetic done in dtype (each step rounded to it, as in the reference).

    packed: (groups / 2, 128) uint8. scale, zero_point: (groups, 1), any float type.
    """
    half = len(packed)
    weight = torch.empty(2 * half, GROUP, dtype=dtype, device=packed.device)
    weight[:half] = packed >> 4
    weight[half:] = packed & 15
    return weight.sub_(zero_point).mul_(scale).reshape(shape)
