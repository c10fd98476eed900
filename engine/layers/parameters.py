"""Layers from their named weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import make_linear
from engine.layers.norms import Norm
from engine.quantization.formats import Matrix
from engine.quantization.tensor_source import TensorSource


@dataclass(frozen=True)
class ParameterReader:
    """Reads the tensors of a part of a model ("text", ...) by their names within it.

    packed, compiled: as for `product`.
    """

    weights: TensorSource
    part: str
    dtype: torch.dtype
    device: str
    packed: bool = False
    compiled: bool = False

    def __call__(self, name: str) -> Tensor:
        return self.weights.tensor(f"{self.part}.{name}", self.dtype, self.device)

    def has(self, name: str) -> bool:
        return self.weights.has(f"{self.part}.{name}")

    def matrix(self, name: str) -> Matrix:
        """Return a matrix in few bits if the weights have it so."""
        return self.weights.matrix(f"{self.part}.{name}", self.dtype, self.device)

    def linear(self, name: str) -> LinearLayer:
        """Return the linear layer of `name`.weight and, if it is there, `name`.bias."""
        bias = self(f"{name}.bias") if self.has(f"{name}.bias") else None
        return make_linear(self.matrix(f"{name}.weight"), bias, self.dtype, packed=self.packed, compiled=self.compiled)

    def norm(self, name: str) -> Norm:
        return self(f"{name}.weight"), self(f"{name}.bias")
