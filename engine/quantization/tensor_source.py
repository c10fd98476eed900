"""The interface through which a model reads its weights."""

from typing import Protocol

import torch
from torch import Tensor

from engine.quantization.formats import Matrix
from engine.quantization.row_table import RowTable


class TensorSource(Protocol):
    """Tensors by their canonical names in a model family, whatever a file calls them."""

    def has(self, name: str) -> bool:
        """Return whether there is a tensor or a quantised matrix of this name."""

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """Return a copy of the tensor, dequantised if it is stored quantised."""

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """Return the weight of a linear layer, (out, in): quantised if it is stored so, else as `tensor` does."""

    def row_table(self, name: str) -> RowTable | None:
        """Return a matrix whose rows are read from a file at each lookup; None where that can't be done."""
