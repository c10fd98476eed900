"""What every part of the model is made of: layers from their named weights, and functions of rows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoints.source import Source
from engine.layers.linear import Product, product
from engine.quantization.formats import Matrix

Norm = tuple[Tensor, Tensor]  # weight, bias


@dataclass(frozen=True)
class Take:
    """Takes the tensors of a part ("text", ...) by their names within it."""

    weights: Source
    part: str
    dtype: torch.dtype
    device: str
    packed: bool = False  # and the next: as for `product`
    compiled: bool = False

    def __call__(self, name: str) -> Tensor:
        return self.weights.take(f"{self.part}.{name}", self.dtype, self.device)

    def matrix(self, name: str) -> Matrix:
        return self.weights.matrix(f"{self.part}.{name}", self.dtype, self.device)


def linear(take: Take, name: str) -> Product:
    return product(take.matrix(f"{name}.weight"), take(f"{name}.bias"), take.dtype, take.packed, take.compiled)


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
