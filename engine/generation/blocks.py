"""What a family gives for each layer of its decoder, for `engine.generation.transformer` to run."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.layers.kv_cache import LayerCache
from engine.layers.lora import RowAdapters


class Block:
    """A layer.

    name: what the names of its linears begin with, as an adapter has them.
    """

    name: str

    @property
    def few_rows(self) -> int | None:
        """Rows from which its products take another kernel, which may round otherwise; None: they never do."""
        return None


class AttentionBlock(Block, ABC):
    """A layer whose rows attend to what their sequence has read."""

    kv_heads: int
    head_dim: int

    @property
    def static_rows(self) -> int | None:
        """The most rows with which the shapes inside `after_attention` do not depend on values; None: any number."""
        return None

    @abstractmethod
    def before_attention(
        self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, adapt: RowAdapters | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute queries, keys and values.

        Args:
            x: (rows, dim).
            positions: (rows), or (rows, axes).
            cos: of the rows' positions.
            sin: as cos.
            adapt: what the rows' adapters add, if any have one.

        Returns:
            What `after_attention` is given again; q, (heads, rows, head dim); k and v, (kv heads, rows, head dim).
        """

    @abstractmethod
    def after_attention(self, x: Tensor, saved: Tensor, attn_output: Tensor, adapt: RowAdapters | None) -> Tensor:
        """Compute the layer's output, (rows, dim), from x, what was kept before, and what attention has mixed.

        mixed: (rows, heads * head dim).
        """


class StatefulBlock(Block, ABC):
    """A layer that keeps a state of its own in place of keys and values, such as a short convolution's."""

    @abstractmethod
    def new_cache(self, dtype: torch.dtype, device: str) -> LayerCache:
        """The state at the start of a text."""

    @abstractmethod
    def advance(self, x: Tensor, sequences: Sequence[tuple[Any, slice]], adapt: RowAdapters | None) -> Tensor:
        """Compute the layer's output, (rows, dim), from x of the same shape.

        sequences: caches, as `new_cache` makes them, with the rows that come next in each.
        """
