"""Rotary position embedding (Su et al. 2021, RoFormer)."""

import torch
from torch import Tensor

from engine.layers.activations import by_row


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
    frequencies = rotary_frequencies(dim, base, device)
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


def rotary_angles(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, each (rows, pairs) in float32, computed for any position rather than read from a table.

    Args:
        positions: (rows, pairs) or (rows, 1), of each pair of dimensions.
        frequencies: (pairs,), float32.
    """
    angles = positions.float() * frequencies
    return by_row(torch.cos, angles), by_row(torch.sin, angles)


def rotary_frequencies(dim: int, base: float, device: str) -> Tensor:
    """Return base^(-2k / dim) for each pair k of dimensions, (dim / 2,) in float32."""
    return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)


def interleaved_axes(sections: tuple[int, ...], pairs: int, device: str) -> Tensor:
    """Return the position axis of each pair of dimensions in interleaved M-RoPE (Qwen3-VL), (pairs,).

    Axis a > 0 has the pairs a, a + axes, ... up to sections[a] of them; axis 0 (time) has the others.

    Args:
        sections: Number of pairs of each axis.
        pairs: Of a head.
        device: Of the result.
    """
    axes = torch.zeros(pairs, dtype=torch.long, device=device)
    for axis, count in enumerate(sections[1:], 1):
        axes[axis : len(sections) * count : len(sections)] = axis
    return axes
