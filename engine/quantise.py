"""Weights in few bits, as a source of a model's tensors: each matrix rounded to the values that the bits can tell.

Only the rounding so far: products are computed in the model's own type, and memory is not saved.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.source import Source

GROUPS = (128, 64, 32)  # the largest that divides a row is taken


def int4(weight: Tensor) -> Tensor:
    """Groups of a row, each with a scale and a zero point of its own: 16 values from its least to its greatest.

    weight: (rows, columns). ValueError if no group size divides a row.
    """
    size = next((size for size in GROUPS if weight.shape[1] % size == 0), None)
    if size is None:
        raise ValueError(f"a row of {weight.shape[1]} weights can't be cut into groups of {GROUPS}")
    groups = weight.float().view(-1, size)
    low = groups.amin(1, keepdim=True).clamp(max=0)
    high = groups.amax(1, keepdim=True).clamp(min=0)
    scale = ((high - low) / 15).clamp(min=torch.finfo(torch.float32).tiny)
    zero = (-low / scale).round()
    return ((groups / scale + zero).round().clamp(0, 15) - zero).mul(scale).view_as(weight).to(weight.dtype)


def int8(weight: Tensor) -> Tensor:
    """Each row with a scale of its own, the same on both sides of 0. weight: (rows, columns)."""
    rows = weight.float()
    scale = (rows.abs().amax(1, keepdim=True) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows / scale).round().mul(scale).to(weight.dtype)


@dataclass(frozen=True)
class Quantised:
    """Another source, with the matrices that `rounding` has something for."""

    source: Source
    rounding: Callable[[str], Callable[[Tensor], Tensor] | None]

    def has(self, name: str) -> bool:
        return self.source.has(name)

    def take(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        tensor = self.source.take(name, dtype, device)
        rounded = self.rounding(name)
        return rounded(tensor) if rounded else tensor
