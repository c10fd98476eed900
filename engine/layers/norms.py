"""Normalisation layers over the last dimension."""

import torch.nn.functional as F
from torch import Tensor

Norm = tuple[Tensor, Tensor]  # weight, bias
NORM_EPS = 1e-5


def layer_norm(x: Tensor, weights: Norm, eps: float = NORM_EPS) -> Tensor:
    """Apply layer normalisation (Ba et al. 2016) to x: (rows, dim)."""
    return F.layer_norm(x, weights[0].shape, *weights, eps=eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Apply RMSNorm (Zhang and Sennrich 2019) to x: (..., dim), computed in float32."""
    return F.rms_norm(x.float(), x.shape[-1:], None, eps).to(x.dtype) * weight
