"""Normalisation of rows."""

import torch.nn.functional as F
from torch import Tensor

Norm = tuple[Tensor, Tensor]  # weight, bias


def layer_norm(x: Tensor, weights: Norm) -> Tensor:
    """Normalise and scale each row (Ba et al. 2016). x: (rows, dim)."""
    return F.layer_norm(x, weights[0].shape, *weights, eps=1e-5)
