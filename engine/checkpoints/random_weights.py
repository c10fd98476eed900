"""Random weights, for benchmarks and tests."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

import torch
from torch import Tensor

from engine.checkpoints.reader import Shape

BLOCK = 1 << 23  # random numbers that all tensors are cut from


@dataclass(frozen=True)
class RandomWeights:
    """A `TensorSource` of random tensors: matrices with std 1 / sqrt(inputs), small biases, identity norms.

    Attributes:
        shapes: Name -> shape of every tensor.
        seed: Of the random generator.
        blocks: Cache of random numbers.
    """

    shapes: Mapping[str, Shape]
    seed: int = 0
    blocks: dict[tuple[torch.dtype, str], Tensor] = field(default_factory=dict, init=False, repr=False)

    def has(self, name: str) -> bool:
        """Return whether there is a tensor of this name."""
        return name in self.shapes

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """Return the tensor, which depends on the seed and the name only."""
        shape = self.shapes[name]
        if self._is_norm(name):
            return torch.full(shape, float(name.endswith(".weight")), dtype=dtype, device=device)
        std = 1 / math.sqrt(shape[-1]) if len(shape) > 1 else 0.02
        block = self._block(dtype, str(device))
        weights = torch.empty(shape, dtype=dtype, device=device)
        pieces = weights.view(-1).split(BLOCK // 2)
        # Each piece starts at another offset in the block, so that no two matrices, and hardly two rows, are equal.
        generator = torch.Generator().manual_seed(crc32(f"{self.seed} {name}".encode()))
        starts = torch.randint(BLOCK // 2, (len(pieces),), generator=generator).tolist()
        for piece, start in zip(pieces, starts, strict=True):
            torch.mul(block[start : start + len(piece)], std, out=piece)
        return weights

    matrix = tensor

    def row_table(self, name: str) -> None:
        """Return None: there is no file."""

    def _is_norm(self, name: str) -> bool:
        """Whether it belongs to a norm, whose weight is a vector; other layers have matrices."""
        layer, _, part = name.rpartition(".")
        return part in ("weight", "bias") and len(self.shapes.get(f"{layer}.weight", ())) == 1

    def _block(self, dtype: torch.dtype, device: str) -> Tensor:
        if (dtype, device) not in self.blocks:
            numbers = torch.randn(BLOCK, generator=torch.Generator().manual_seed(self.seed))
            self.blocks[dtype, device] = numbers.to(device, dtype)
        return self.blocks[dtype, device]
