"""Rotary position embedding (Su et al. 2021, RoFormer)."""

import torch
from torch import Tensor


def rotary_table(dim: int, base: float, positions: int, device: str) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of all angles.

    Args:
        dim: Number of rotated dimensions of a head.
        base: Of the frequencies.
        positions: Number of positions, from 0 on.
        device: Of the table.

    Returns:
        Two float32 tensors (positions, dim / 2).
    """
    pairs = torch.arange(0, dim, 2, dtype=torch.float32, device=device)
    frequencies = 1.0 / base ** (pairs / dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32, device=device), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (x[i], x[i + dim / 2]) of each head, computed in float32.

    Args:
        x: (rows, heads, dim).
        cos: (rows, dim / 2).
        sin: (rows, dim / 2).

    Returns:
        (rows, heads, dim), in the dtype of x.
    """
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
