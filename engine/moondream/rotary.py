"""Rotary position embedding (Su et al. 2021, RoFormer), with Moondream's order of dimensions."""

from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first dimensions of each head.

    Pair i is (x[i], x[i + half]) in the input and (y[2 i], y[2 i + 1]) in the output. Computed in float32.

    Args:
        x: (rows, heads, head_dim).
        cos: (rows, rotary_dim / 2).
        sin: (rows, rotary_dim / 2).

    Returns:
        (rows, heads, head_dim).
    """
    half = cos.shape[1]
    a, b = x[..., :half].float(), x[..., half : 2 * half].float()
    cos, sin = cos[:, None], sin[:, None]
    y = x.clone()
    y[..., 0 : 2 * half : 2] = a * cos - b * sin
    y[..., 1 : 2 * half : 2] = a * sin + b * cos
    return y
