"""Where the parts of a model get their tensors from."""

from typing import Protocol

import torch
from torch import Tensor

from engine.quantization.formats import Matrix


class TensorSource(Protocol):
    """Tensors by the names that the family uses, whatever a file calls them."""

    def has(self, name: str) -> bool: ...

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """Return the tensor, in memory of its own."""

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """Return the weights of a linear, (out, in): in few bits if the source has them so, else as `tensor` does."""
