"""Building layers from named weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.finite import check_weights
from engine.layers.embedding import Embeddings
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import make_linear
from engine.layers.norms import Norm
from engine.quantization.formats import Matrix, concat_rows
from engine.quantization.gguf_blocks import GgufBlocks
from engine.quantization.tensor_source import TensorSource

MAX_CHECKED_WEIGHTS = 1 << 20  # the check of larger tensors would delay loading


@dataclass(frozen=True)
class ParameterReader:
    """Reads the parameters of one part of a model, by their names within it.

    Attributes:
        weights: Source of the tensors.
        part: Prefix of the names, such as "text".
        dtype: Of the parameters.
        device: Of the parameters.
        packed: As in `make_linear`.
        compiled: As in `make_linear`.
        exact: Whether activations must not be quantised where blocks of a GGUF file are multiplied.
    """

    weights: TensorSource
    part: str
    dtype: torch.dtype
    device: str
    packed: bool = False
    compiled: bool = False
    exact: bool = False

    def __call__(self, name: str) -> Tensor:
        """Return the tensor of this name. Raises ModelUnavailable if it is small, and has NaN or infinity."""
        full_name = f"{self.part}.{name}"
        return _checked(full_name, self.weights.tensor(full_name, self.dtype, self.device))

    def has(self, name: str) -> bool:
        """Return whether there is a tensor of this name."""
        return self.weights.has(f"{self.part}.{name}")

    def matrix(self, name: str) -> Matrix:
        """Return a weight matrix, quantised if it is stored so. Raises as the call does."""
        full_name = f"{self.part}.{name}"
        matrix = self.weights.matrix(full_name, self.dtype, self.device)
        if isinstance(matrix, GgufBlocks):
            return replace(matrix, exact=self.exact)
        return _checked(full_name, matrix) if isinstance(matrix, Tensor) else matrix

    def embeddings(self, name: str) -> Embeddings:
        """Return a matrix of which only rows are looked up: a large one stays in the file where that can be done."""
        table = self.weights.row_table(f"{self.part}.{name}") if self.device == "cpu" else None
        return table if table and math.prod(table.shape) > MAX_CHECKED_WEIGHTS else self.matrix(name)

    def linear(self, name: str) -> LinearLayer:
        """Return the linear layer of `name`.weight and, if it exists, `name`.bias."""
        bias = self(f"{name}.bias") if self.has(f"{name}.bias") else None
        return make_linear(self.matrix(f"{name}.weight"), bias, self.dtype, packed=self.packed, compiled=self.compiled)

    def fused_linear(self, names: Sequence[str]) -> LinearLayer:
        """Return several linear layers of one input as one, their outputs concatenated.

        Weights that are stored in different formats are dequantised.
        """
        weight = concat_rows([self.matrix(f"{name}.weight") for name in names])
        if weight is None:
            weight = torch.cat([self(f"{name}.weight") for name in names])
        has_bias = all(self.has(f"{name}.bias") for name in names)
        bias = torch.cat([self(f"{name}.bias") for name in names]) if has_bias else None
        return make_linear(weight, bias, self.dtype, packed=self.packed, compiled=self.compiled)

    def norm(self, name: str) -> Norm:
        """Return the weight and bias of a normalisation layer."""
        return self(f"{name}.weight"), self(f"{name}.bias")


def _checked(name: str, tensor: Tensor) -> Tensor:
    if tensor.numel() <= MAX_CHECKED_WEIGHTS:
        check_weights(name, tensor)
    return tensor
