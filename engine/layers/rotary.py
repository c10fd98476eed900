"""Rotary position embedding (Su et al. 2021, RoFormer)."""

import torch
from torch import Tensor

from engine.kernels.attention import has_head_kernels
from engine.kernels.operators import rotated
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


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Rotate the pairs (x[i], x[i + half]) of the first 2 * half dimensions of each head, computed in float32.

    Args:
        x: (rows, heads, dim).
        cos: (rows, half), float32.
        sin: As cos.
        interleaved: Whether pair i is written to 2 i and 2 i + 1, as in Moondream; else to where it was.

    Returns:
        (rows, heads, dim), in the dtype of x.
    """
    if has_head_kernels(x.dtype, x.shape[2], x.device.type):
        return rotated(x, cos, sin, interleaved)
    half = cos.shape[1]
    a, b = x[..., :half].float(), x[..., half : 2 * half].float()
    cos, sin = cos[:, None], sin[:, None]
    pairs = a * cos - b * sin, a * sin + b * cos
    turned = torch.stack(pairs, -1).flatten(-2) if interleaved else torch.cat(pairs, -1)
    return torch.cat([turned.to(x.dtype), x[..., 2 * half :]], -1)


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
