"""Rotary position embedding (Su et al. 2021, RoFormer)."""

import torch
from torch import Tensor


def rotary_table(dim: int, base: float, positions: int, device: str) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of positions 0, 1, ..., each (positions, dim / 2), float32.

    dim: how many of a head's dimensions turn.
    """
    pairs = torch.arange(0, dim, 2, dtype=torch.float32, device=device)
    frequencies = 1.0 / base ** (pairs / dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32, device=device), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: (rows, heads, head dim) turned, pair i being (x[i], x[i + half]); cos, sin: (rows, half). In float32."""
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
