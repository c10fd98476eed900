"""KV caches of a decoder, per layer and sequence, with prefix sharing.

A layer caches keys and values (`KeyValueCache`) or the state of a short convolution (`ConvCache`). A sequence's cache
is a list of these. A common prefix is prefilled once, frozen as a `PrefixCache` and forked, without a copy, for each
sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from engine.quantization.formats import quantize_int8

GROWTH = 64  # positions
SCALE_BYTES = 4


class LayerCache(Protocol):
    """The cache of one layer. A step writes rows and then commits them; until then it can be repeated."""

    def reserve(self, rows: int, exact: bool) -> None:
        """Reserve capacity for `rows` more; with `exact`, no more than that."""

    def commit(self, rows: int) -> None:
        """Append the `rows` that the step has written."""

    @property
    def nbytes(self) -> int:
        """Size of its tensors, those that it shares included."""

    def fork(self) -> "LayerCache":
        """Return an independent cache that continues from the committed rows."""

    def truncated(self, length: int) -> "LayerCache | None":
        """Return an independent cache that continues from the first `length` rows; None if their state is gone."""


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Immutable keys and values, (kv_heads, positions, head_dim)."""

    keys: Tensor
    values: Tensor


class KeyValueCache:
    """One layer's keys and values: those shared with other sequences, then the sequence's own.

    Attributes:
        shared: Keys and values of the prefix.
        keys: Its own, (kv_heads, capacity, head_dim), zeros after the first `length` positions.
        values: Shaped as keys.
        length: Committed positions of its own.
    """

    def __init__(self, empty: Tensor, shared: Sequence[KeyValues] = ()) -> None:
        """Create a cache; empty: (kv_heads, 0, head_dim), of the dtype and device of the keys."""
        self.shared = tuple(shared)
        self.keys = self.values = empty
        self.length = 0

    @classmethod
    def new(cls, kv_heads: int, head_dim: int, dtype: torch.dtype, device: str) -> "KeyValueCache":
        """Return an empty cache; with int8, each head of a position is int8 numbers, then their float32 scale."""
        return cls(torch.empty(kv_heads, 0, row_width(head_dim, dtype), dtype=dtype, device=device))

    @property
    def head_dim(self) -> int:
        """The width of a head."""
        width = self.keys.shape[2]
        return width - SCALE_BYTES if self.keys.dtype == torch.int8 else width

    def reserve(self, rows: int, exact: bool = False) -> None:
        """Reserve capacity for `rows` more positions; with `exact`, no more than that."""
        capacity = self.keys.shape[1]
        missing = self.length + rows - capacity
        if missing > 0:
            more = missing if exact else -(-max(missing, capacity // 2) // GROWTH) * GROWTH
            self.keys, self.values = _extended(self.keys, more), _extended(self.values, more)

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Write keys and values, each (kv_heads, rows, head_dim), after the committed positions."""
        end = self.length + keys.shape[1]
        if self.keys.dtype == torch.int8:
            keys, values = quantize_heads(keys), quantize_heads(values)
        self.keys[:, self.length : end] = keys
        self.values[:, self.length : end] = values

    def commit(self, rows: int) -> None:
        """Append the `rows` positions that were written."""
        self.length += rows

    @property
    def nbytes(self) -> int:
        """Size of keys and values, those of the prefix included."""
        return sum(part.keys.nbytes + part.values.nbytes for part in (*self.shared, self.written(self.length)))

    def fork(self) -> "KeyValueCache":
        """Return a cache that shares the committed positions, without a copy."""
        empty = self.keys[:, :0]
        if not self.length:
            return KeyValueCache(empty, self.shared)
        return KeyValueCache(empty, (*self.shared, self.written(self.length)))

    def truncated(self, length: int) -> "KeyValueCache":
        """Return a cache that shares the first `length` positions, without a copy."""
        parts: list[KeyValues] = []
        for part in (*self.shared, self.written(self.length)):
            parts.append(KeyValues(part.keys[:, :length], part.values[:, :length]))
            length -= part.keys.shape[1]
            if length <= 0:
                break
        return KeyValueCache(self.keys[:, :0], parts)

    def written(self, length: int) -> KeyValues:
        """Return the first `length` positions of its own, without a copy."""
        return KeyValues(self.keys[:, :length], self.values[:, :length])


def row_width(head_dim: int, dtype: torch.dtype) -> int:
    """Return how many elements a head of a position takes in a cache of this dtype."""
    return head_dim + SCALE_BYTES if dtype == torch.int8 else head_dim


def quantize_heads(x: Tensor) -> Tensor:
    """Quantise (..., head_dim) to int8 with a scale for each head of a position: (..., head_dim + SCALE_BYTES)."""
    heads = quantize_int8(x.flatten(0, -2))
    return torch.cat([heads.values, heads.scale[:, None].view(torch.int8)], 1).view(
        *x.shape[:-1], x.shape[-1] + SCALE_BYTES
    )


def as_floats(cached: Tensor, dtype: torch.dtype) -> Tensor:
    """Return cached keys or values, dequantised to this dtype if they are int8."""
    if cached.dtype != torch.int8:
        return cached
    values, scale = cached.split([cached.shape[-1] - SCALE_BYTES, SCALE_BYTES], -1)
    scales = scale.contiguous().view(torch.float32)
    return torch.mul(values.float(), scales).to(dtype)


class ConvCache:
    """The state of a causal convolution with a kernel of L: its last L - 1 inputs, zeros at the start of a sequence.

    Attributes:
        inputs: (L - 1, channels), the oldest first.
    """

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs
        self._next = inputs

    @classmethod
    def new(cls, channels: int, kernel: int, dtype: torch.dtype, device: str) -> "ConvCache":
        """Return the state at the start of a sequence."""
        return cls(torch.zeros(kernel - 1, channels, dtype=dtype, device=device))

    def reserve(self, rows: int, exact: bool = False) -> None:
        """Do nothing: the state has a fixed size."""

    def window(self, inputs: Tensor) -> Tensor:
        """Return the cached inputs followed by the next ones, (rows, channels), as (L - 1 + rows, channels)."""
        window = torch.cat([self.inputs, inputs])
        self._next = window[len(inputs) :].clone()
        return window

    def next_inputs(self) -> Tensor:
        """Return room for the inputs that are cached after this step, (L - 1, channels), in place of `window`."""
        self._next = torch.empty_like(self.inputs)
        return self._next

    def commit(self, rows: int) -> None:
        """Replace the cached inputs by the last ones of `window`, or by what was written to `next_inputs`."""
        self.inputs = self._next

    @property
    def nbytes(self) -> int:
        """Size of the state."""
        return self.inputs.nbytes

    def fork(self) -> "ConvCache":
        """Return a cache with the same inputs, which are replaced and never written to."""
        return ConvCache(self.inputs)

    def truncated(self, length: int) -> None:
        """Return None: only the last inputs are known."""


@dataclass(frozen=True, eq=False)
class PrefixCache:
    """The immutable cache of a prefix, shared by any number of sequences.

    Attributes:
        layers: A cache per layer.
        length: Tokens of the prefix.
        next_position: Position of the next token.
    """

    layers: Sequence[LayerCache]
    length: int
    next_position: int

    @cached_property
    def nbytes(self) -> int:
        """Size of the caches of all layers, what they share with others included."""
        return sum(layer.nbytes for layer in self.layers)

    def fork(self) -> "SequenceCache":
        """Return a sequence that continues from the prefix, without a copy."""
        return SequenceCache([layer.fork() for layer in self.layers], self)

    def truncated(self, length: int, next_position: int) -> "PrefixCache | None":
        """Return the first `length` tokens, of which there are some; None if a layer can't go back to them.

        Args:
            length: Tokens.
            next_position: Position of the token after them.
        """
        if length == self.length:
            return self
        layers = [layer.truncated(length) for layer in self.layers]
        kept = [layer for layer in layers if layer is not None]
        return PrefixCache(kept, length, next_position) if len(kept) == len(layers) else None


class SequenceCache:
    """The cache of one sequence, which may continue from a prefix.

    Attributes:
        layers: A cache per layer.
        prefix: That it continues from, or None.
        length: Tokens, prefix included.
        next_position: Position of the next token; it differs from length where positions are multimodal (M-RoPE).
    """

    def __init__(self, layers: Sequence[LayerCache], prefix: PrefixCache | None = None) -> None:
        self.layers = layers
        self.prefix = prefix
        self.length = prefix.length if prefix else 0
        self.next_position = prefix.next_position if prefix else 0

    def reserve(self, rows: int, exact: bool = False) -> None:
        """Reserve capacity for `rows` more tokens; with `exact`, no more than that."""
        for layer in self.layers:
            layer.reserve(rows, exact)

    def advance(self, rows: int, next_position: int | None = None) -> None:
        """Commit the `rows` that every layer has written.

        Args:
            rows: Tokens.
            next_position: Position of the token after them, if it is not the next integer.
        """
        for layer in self.layers:
            layer.commit(rows)
        self.length += rows
        self.next_position = self.next_position + rows if next_position is None else next_position

    def freeze(self) -> PrefixCache:
        """Return the committed tokens as a prefix; this sequence may continue too."""
        return PrefixCache([layer.fork() for layer in self.layers], self.length, self.next_position)

    def fork(self) -> "SequenceCache":
        """Return another sequence that continues from here."""
        return self.freeze().fork()


def _extended(cached: Tensor, more: int) -> Tensor:
    heads, capacity, dim = cached.shape
    extended = cached.new_zeros(heads, capacity + more, dim)
    extended[:, :capacity] = cached
    return extended
