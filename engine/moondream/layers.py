"""What every part of the model is made of: layers from their named weights, and functions of rows."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.linear import Linear
from engine.source import Source

Take = Callable[[str], Tensor]
Norm = tuple[Tensor, Tensor]  # weight, bias


def taken_from(weights: Source, part: str, dtype: torch.dtype, device: str) -> Take:
    """What takes the tensors of a part ("text", ...) by their names within it."""
    return lambda name: weights.take(f"{part}.{name}", dtype, device)


def linear(take: Take, name: str, packed: bool) -> Linear:
    return Linear(take(f"{name}.weight"), take(f"{name}.bias"), packed)


def norm(take: Take, name: str) -> Norm:
    return take(f"{name}.weight"), take(f"{name}.bias")


def layer_norm(x: Tensor, weights: Norm) -> Tensor:
    """x: (rows, dim), normalised and scaled (Ba et al. 2016)."""
    return F.layer_norm(x, weights[0].shape, *weights, eps=1e-5)


def by_row(function: Callable[..., Tensor], x: Tensor) -> Tensor:
    """An elementwise function such as torch.tanh of x: (rows, columns).

    torch rounds the elements at the end of its memory, which fill no vector register, in another way. A result whose
    rows do not touch makes it start anew with each row, so that no row depends on how many there are.
    """
    return function(x, out=x.new_empty(x.shape[0], x.shape[1] + 1)[:, :-1])
