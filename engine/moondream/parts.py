"""The two layers that every part of the model is made of, from their named weights."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from engine.linear import Linear

Take = Callable[[str], Tensor]
Norm = tuple[Tensor, Tensor]


def linear(take: Take, name: str, packed: bool) -> Linear:
    return Linear(take(f"{name}.weight"), take(f"{name}.bias"), packed)


def norm(take: Take, name: str) -> Norm:
    return take(f"{name}.weight"), take(f"{name}.bias")


def layer_norm(x: Tensor, weights: Norm) -> Tensor:
    """x: (rows, dim), normalised and scaled (Ba et al. 2016)."""
    return F.layer_norm(x, weights[0].shape, *weights, eps=1e-5)
