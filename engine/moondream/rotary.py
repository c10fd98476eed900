"""Rotary position embedding (Su et al. 2021, RoFormer), in the order of dimensions that Moondream caches."""

import torch
from torch import Tensor

from engine.moondream.config import TextConfig


def rotary_table(config: TextConfig, device: str) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles, each (max_context, rotary_dim / 2), float32."""
    pairs = torch.arange(0, config.rotary_dim, 2, dtype=torch.float32, device=device)
    frequencies = 1.0 / config.rope_theta ** (pairs / config.rotary_dim)
    angles = torch.outer(torch.arange(config.max_context, dtype=torch.float32, device=device), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: (rows, heads, head dim) with the first dimensions of each head turned; cos, sin: (rows, rotary_dim / 2).

    Pair i is (x[i], x[i + half]) on the way in and (y[2 i], y[2 i + 1]) on the way out. Computed in float32.
    """
    half = cos.shape[1]
    a, b = x[..., :half].float(), x[..., half : 2 * half].float()
    cos, sin = cos[:, None], sin[:, None]
    y = x.clone()
    y[..., 0 : 2 * half : 2] = a * cos - b * sin
    y[..., 1 : 2 * half : 2] = a * sin + b * cos
    return y
