"""Layers from their named weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.checkpoints.source import Source
from engine.layers.linear import Product, product
from engine.layers.norms import Norm
from engine.quantization.formats import Matrix


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
