"""Normalisation over the last dimension."""

import torch.nn.functional as F
from torch import Tensor

Norm = tuple[Tensor, Tensor]  # weight, bias


def layer_norm(x: Tensor, weights: Norm, eps: float = 1e-5) -> Tensor:
    """x: (rows, dim), normalised and scaled (Ba et al. 2016)."""
    return F.layer_norm(x, weights[0].shape, *weights, eps=eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x: (..., dim), divided by its root mean square and scaled (Zhang and Sennrich 2019), computed in float32."""
    return F.rms_norm(x.float(), x.shape[-1:], None, eps).to(x.dtype) * weight
