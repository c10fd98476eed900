"""What a decoder keeps of the tokens that it has read, layer by layer, and how sequences share it.

A layer keeps keys and values (`KeyValueCache`) or the state of a short convolution (`ConvCache`). A sequence's cache is
a list of them; what many sequences begin with is read once, frozen as a `PrefixCache`, and forked for each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

GROWTH = 64  # positions


class LayerCache(Protocol):
    """What one layer keeps. What a step has put in counts once it is committed: till then the step can be repeated."""

    def reserve(self, rows: int, exact: bool) -> None:
        """Make room for `rows` more; exact: and for no others."""

    def commit(self, rows: int) -> None:
        """Count the `rows` that the step has put in."""

    def fork(self) -> "LayerCache":
        """Another that goes on from what is committed; neither sees what the other is given from now on."""


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Keys and values, (kv heads, positions, head dim), that are never written again."""

    keys: Tensor
    values: Tensor


class KeyValueCache:
    """One layer's keys and values: those shared with other sequences, then its own.

    keys, values: its own, (kv heads, room, head dim), which attention reads without a copy. The first `length`
    positions are written. They grow in steps, by zeros.
    """

    def __init__(self, empty: Tensor, shared: Sequence[KeyValues] = ()) -> None:
        """empty: (kv heads, 0, head dim), of the type and device of what is kept."""
        self.shared = tuple(shared)
        self.keys = self.values = empty
        self.length = 0

    @classmethod
    def new(cls, kv_heads: int, head_dim: int, dtype: torch.dtype, device: str) -> "KeyValueCache":
        return cls(torch.empty(kv_heads, 0, head_dim, dtype=dtype, device=device))

    def reserve(self, rows: int, exact: bool = False) -> None:
        room = self.keys.shape[1]
        missing = self.length + rows - room
        if missing > 0:
            more = missing if exact else -(-max(missing, room // 2) // GROWTH) * GROWTH
            self.keys, self.values = _longer(self.keys, more), _longer(self.values, more)

    def write(self, keys: Tensor, values: Tensor) -> None:
        """keys, values: (kv heads, rows, head dim), behind what is committed."""
        end = self.length + keys.shape[1]
        self.keys[:, self.length : end] = keys
        self.values[:, self.length : end] = values

    def commit(self, rows: int) -> None:
        self.length += rows

    def fork(self) -> "KeyValueCache":
        """Nothing is copied: what is committed is shared from now on."""
        empty = self.keys[:, :0]
        if not self.length:
            return KeyValueCache(empty, self.shared)
        written = KeyValues(self.keys[:, : self.length], self.values[:, : self.length])
        return KeyValueCache(empty, (*self.shared, written))


class ConvCache:
    """What a causal convolution over L tokens needs of those before: the last L - 1, zeros at the start of a text.

    inputs: (L - 1, channels), the oldest first.
    """

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs
        self._next = inputs

    @classmethod
    def new(cls, channels: int, kernel: int, dtype: torch.dtype, device: str) -> "ConvCache":
        return cls(torch.zeros(kernel - 1, channels, dtype=dtype, device=device))

    def reserve(self, rows: int, exact: bool = False) -> None:
        """It never grows."""

    def window(self, inputs: Tensor) -> Tensor:
        """inputs: (rows, channels), the next. Returns them behind those that are kept, (L - 1 + rows, channels)."""
        window = torch.cat([self.inputs, inputs])
        self._next = window[len(inputs) :].clone()
        return window

    def commit(self, rows: int) -> None:
        self.inputs = self._next

    def fork(self) -> "ConvCache":
        """What is kept is replaced, never written to: both may hold the same."""
        return ConvCache(self.inputs)


@dataclass(frozen=True, eq=False)
class PrefixCache:
    """What any number of sequences go on from, which nothing writes to.

    length: tokens that it holds. next_position: of the token behind them.
    """

    layers: Sequence[LayerCache]
    length: int
    next_position: int

    def fork(self) -> "SequenceCache":
        """A sequence that goes on from here, without a copy of anything."""
        return SequenceCache([layer.fork() for layer in self.layers], self)


class SequenceCache:
    """What one sequence has read, after its prefix or from the start.

    length: tokens, with those of the prefix. next_position: of the token to come, as many as there are tokens unless
    the positions of some were given otherwise (M-RoPE).
    """

    def __init__(self, layers: Sequence[LayerCache], prefix: PrefixCache | None = None) -> None:
        self.layers = layers
        self.prefix = prefix
        self.length = prefix.length if prefix else 0
        self.next_position = prefix.next_position if prefix else 0

    def reserve(self, rows: int, exact: bool = False) -> None:
        """Make room for `rows` more tokens; exact: and for no others."""
        for layer in self.layers:
            layer.reserve(rows, exact)

    def advance(self, rows: int, next_position: int | None = None) -> None:
        """Count the `rows` that every layer has been given.

        next_position: of the token behind them, where it is not the next number.
        """
        for layer in self.layers:
            layer.commit(rows)
        self.length += rows
        self.next_position = self.next_position + rows if next_position is None else next_position

    def freeze(self) -> PrefixCache:
        """What has been read so far, for others to go on from; this sequence may go on too."""
        return PrefixCache([layer.fork() for layer in self.layers], self.length, self.next_position)

    def fork(self) -> "SequenceCache":
        """Another sequence that goes on from here."""
        return self.freeze().fork()


def _longer(cached: Tensor, more: int) -> Tensor:
    heads, room, dim = cached.shape
    longer = cached.new_zeros(heads, room + more, dim)
    longer[:, :room] = cached
    return longer
