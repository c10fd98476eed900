"""Rotary position embedding (Su et al. 2021, RoFormer), in the order of dimensions that Moondream caches."""

from torch import Tensor


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
