"""Keys and values that the text model keeps: shared by all prompts about a picture, or one sequence's own.

Shapes are those that attention reads without a copy: (layers, kv heads, positions, head dim).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH = 64  # positions


@dataclass(frozen=True, eq=False)
class Prefix:
    """The cached start of a text, positions 0..length-1, that any number of sequences go on from."""

    keys: Tensor
    values: Tensor

    @property
    def length(self) -> int:
        return self.keys.shape[2]


class Tail:
    """What one sequence adds after its prefix (None: it starts at position 0). Grows as it is written, by zeros."""

    def __init__(self, shape: tuple[int, int, int], prefix: Prefix | None, dtype: torch.dtype, device: str) -> None:
        """shape: layers, kv heads, head dim."""
        layers, heads, dim = shape
        self.prefix = prefix
        self.length = 0
        self.keys = torch.zeros(layers, heads, 0, dim, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)

    @property
    def position(self) -> int:
        """Of the next token, counted from the start of the prefix."""
        return self.length + (self.prefix.length if self.prefix else 0)

    def reserve(self, more: int) -> None:
        """Makes room for `more` positions after those that are written."""
        missing = self.length + more - self.keys.shape[2]
        if missing > 0:
            room = -(-max(missing, self.keys.shape[2] // 2) // GROWTH) * GROWTH
            self.keys = _longer(self.keys, room)
            self.values = _longer(self.values, room)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """keys, values: (kv heads, new positions, head dim), behind those of `length`, which the caller advances."""
        end = self.length + keys.shape[1]
        self.keys[layer, :, self.length : end] = keys
        self.values[layer, :, self.length : end] = values


def _longer(cached: Tensor, room: int) -> Tensor:
    longer = cached.new_zeros(*cached.shape[:2], cached.shape[2] + room, cached.shape[3])
    longer[:, :, : cached.shape[2]] = cached
    return longer
