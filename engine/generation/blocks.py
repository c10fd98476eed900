"""The interface of a decoder layer: each model family implements it, and `engine.generation.transformer` runs it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from engine.generation.fused_decoder import FusedLayer
from engine.layers.kv_cache import LayerCache
from engine.layers.lora import RowAdapters


class Block:
    """A decoder layer.

    Attributes:
        name: Prefix of the layer's linears in the tensor names of a LoRA adapter.
        adaptable: Whether the layer applies LoRA adapters.
    """

    name: str
    adaptable: ClassVar[bool] = True

    @property
    def few_rows(self) -> int | None:
        """Rows from which its GEMMs use another kernel, which may round differently; None: one kernel for all."""
        return None

    def fused(self) -> FusedLayer | None:
        """Return the layer for our CPU kernels; None if they can't compute it."""
        return None


class AttentionBlock(Block, ABC):
    """A layer with self-attention over a key-value cache.

    Attributes:
        kv_heads: Key and value heads.
        head_dim: Width of a head.
    """

    kv_heads: int
    head_dim: int

    @property
    def static_rows(self) -> int | None:
        """Most rows for which no shape inside `after_attention` depends on tensor values; None: any number."""
        return None

    @abstractmethod
    def before_attention(
        self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, adapt: RowAdapters | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute queries, keys and values.

        Args:
            x: Hidden states, (rows, dim).
            positions: (rows,) or, for M-RoPE, (rows, axes).
            cos: Rotary cosines of these positions, (rows, rotary_dim / 2).
            sin: Rotary sines, as cos.
            adapt: Adds the rows' LoRA adapters; None if no row has one.

        Returns:
            Saved: passed on to `after_attention`.
            q: (heads, rows, head_dim).
            k: (kv_heads, rows, head_dim).
            v: (kv_heads, rows, head_dim).
        """

    @abstractmethod
    def after_attention(self, x: Tensor, saved: Tensor, attn_output: Tensor, adapt: RowAdapters | None) -> Tensor:
        """Compute the layer's output from the attention output.

        Args:
            x: The layer's input, (rows, dim).
            saved: As returned by `before_attention`.
            attn_output: (rows, heads * head_dim).
            adapt: As for `before_attention`.

        Returns:
            Hidden states, (rows, dim).
        """


class StatefulBlock(Block, ABC):
    """A layer with a recurrent state in place of keys and values, such as a short convolution."""

    @abstractmethod
    def new_cache(self, dtype: torch.dtype, device: str) -> LayerCache:
        """Return the state at the start of a sequence."""

    @abstractmethod
    def advance(self, x: Tensor, sequences: Sequence[tuple[Any, slice]], adapt: RowAdapters | None) -> Tensor:
        """Compute the layer's output and update the state of each sequence.

        Args:
            x: Hidden states, (rows, dim).
            sequences: The cache of each, as made by `new_cache`, and its rows in x.
            adapt: Adds the rows' LoRA adapters; None if no row has one.

        Returns:
            Hidden states, (rows, dim).
        """
