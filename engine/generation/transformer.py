"""The layer loop of a decoder: embeddings of several sequences' rows in, hidden states out, caches written on the way.

It knows no family: each gives its own blocks (`engine.generation.blocks`). Rows of several sequences go through the
products together; attention is each sequence's own, and on a CPU what a row gets does not depend on the others, to the
last bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.generation.blocks import AttentionBlock, Block, StatefulBlock
from engine.generation.cuda_graphs import CudaGraphs, Rotary
from engine.layers.attention import CachedAttention, QuerySpan
from engine.layers.kv_cache import KeyValueCache, LayerCache, PrefixCache, SequenceCache
from engine.layers.lora import LoraAdapter, RowAdapters


@dataclass(frozen=True, eq=False)
class Deepstack:
    """Hidden states that are added to some rows of a run after given layers (Meng et al. 2024, DeepStack).

    rows: (n), counted from the run's first. states: layer -> (n, dim).
    """

    rows: Tensor
    states: Mapping[int, Tensor]


@dataclass(frozen=True, eq=False)
class SequenceRun(QuerySpan):
    """The next rows of one sequence.

    positions: (rows), or (rows, axes), where they are not counted on from the sequence's `next_position`, which is then
    one more than the largest.
    """

    adapter: LoraAdapter | None = None
    positions: Tensor | None = None
    deepstack: Deepstack | None = None


class Transformer:
    """The layers of a decoder, between the embeddings and the last norm."""

    def __init__(
        self, blocks: Sequence[Block], rotary: Rotary, dtype: torch.dtype, device: str, *, position_axes: int = 1
    ) -> None:
        """position_axes: numbers in the position of a token: three for M-RoPE."""
        self.blocks, self.rotary = blocks, rotary
        self.dtype, self.device = dtype, device
        self.position_axes = position_axes
        self._before, self._after = _before_attention, _after_attention
        self._graphs: CudaGraphs | None = None
        self._few_rows = min((block.few_rows for block in blocks if block.few_rows), default=None)

    def new_cache(self, prefix: PrefixCache | None = None) -> SequenceCache:
        """Of a sequence that goes on from the prefix, or begins."""
        return prefix.fork() if prefix else SequenceCache([self._new_layer(block) for block in self.blocks])

    def _new_layer(self, block: Block) -> LayerCache:
        if isinstance(block, AttentionBlock):
            return KeyValueCache.new(block.kv_heads, block.head_dim, self.dtype, self.device)
        assert isinstance(block, StatefulBlock)
        return block.new_cache(self.dtype, self.device)

    def extend(self, embeddings: Tensor, runs: Sequence[SequenceRun]) -> Tensor:
        """Read rows of several sequences into their caches.

        Args:
            embeddings: (rows, dim).
            runs: one behind the other, each of another sequence.

        Returns:
            The hidden states after the last layer, (rows, dim).
        """
        for run in runs:
            run.cache.reserve(run.count)
        hidden = [self._step(embeddings[_span(some)], some, True) for some in self._of_one_kernel(runs)]
        _advance(runs)
        return hidden[0] if len(hidden) == 1 else torch.cat(hidden)

    def prefill(self, embeddings: Tensor, runs: Sequence[SequenceRun]) -> None:
        """As `extend`, for starts of texts, whose hidden states nobody asks for; their caches get no room for more."""
        for run in runs:
            run.cache.reserve(run.count, exact=True)
        for some in self._of_one_kernel(runs):
            self._step(embeddings[_span(some)], some, False)
        _advance(runs)

    def compile(self) -> None:
        """Fuse what stands between the products; attention, adapters and shapes that depend on values stay as they are.

        Where there is CUDA, steps of few rows become graphs too.
        """
        self._before = torch.compile(_before_attention, dynamic=True)
        self._after = torch.compile(_after_attention, dynamic=True)
        blocks = [block for block in self.blocks if isinstance(block, AttentionBlock)]
        if self.device.startswith("cuda") and len(blocks) == len(self.blocks):
            self._graphs = CudaGraphs(blocks, self.rotary, self._before, self._after_of)

    def _of_one_kernel(self, runs: Sequence[SequenceRun]) -> list[list[SequenceRun]]:
        """Runs that go through the layers together: the kernel that a run's rows take must not depend on others."""
        parts: list[list[SequenceRun]] = [[]]
        rows = 0
        for run in runs:
            if parts[-1] and self._few_rows and rows + run.count >= self._few_rows:
                parts.append([])
                rows = 0
            parts[-1].append(run)
            rows += run.count
        return parts

    def _step(self, x: Tensor, runs: Sequence[SequenceRun], hidden: bool) -> Tensor:
        """The hidden states; without `hidden` it ends when the last layer's cache is written."""
        if first := runs[0].rows.start:
            runs = [replace(run, rows=slice(run.rows.start - first, run.rows.stop - first)) for run in runs]
        positions, attention = self._positions(runs), CachedAttention(runs)
        plain = hidden and not any(run.adapter or run.deepstack for run in runs)
        if self._graphs and plain and len(x) <= self._graphs.most_rows:
            return self._graphs(x, positions, attention)
        return self._forward(x, positions, runs, attention, hidden=hidden)

    def _positions(self, runs: Sequence[SequenceRun]) -> Tensor:
        """(rows), or (rows, axes)."""
        each = []
        for run in runs:
            at = run.cache.next_position
            positions = torch.arange(at, at + run.count) if run.positions is None else run.positions
            if self.position_axes > 1 and positions.ndim == 1:
                positions = positions[:, None].expand(-1, self.position_axes)
            each.append(positions)
        return torch.cat(each).to(self.device)

    def _forward(
        self, x: Tensor, positions: Tensor, runs: Sequence[SequenceRun], attention: CachedAttention, *, hidden: bool
    ) -> Tensor:
        cos, sin = self.rotary(positions)
        adapters = [(run.rows, run.adapter) for run in runs if run.adapter]
        added = [(run.deepstack.rows + run.rows.start, run.deepstack.states) for run in runs if run.deepstack]
        for layer, block in enumerate(self.blocks):
            adapt = RowAdapters(adapters, block.name) if adapters else None
            if isinstance(block, AttentionBlock):
                before = _before_attention if adapt else self._before
                after = _after_attention if adapt else self._after_of(block)
                saved, q, k, v = before(block, x, positions, cos, sin, adapt=adapt)
                if layer == len(self.blocks) - 1 and not hidden:
                    attention.write(layer, k, v)
                    break
                x = after(block, x, saved, attention(layer, q, k, v), adapt)
            else:
                assert isinstance(block, StatefulBlock)
                x = block.advance(x, [(run.cache.layers[layer], run.rows) for run in runs], adapt)
            for rows, states in added:
                if layer in states:
                    x[rows] += states[layer]
        return x

    def _after_of(self, block: AttentionBlock) -> Callable[..., Tensor]:
        return self._after if block.static_rows is None else _after_attention


def _before_attention(
    block: AttentionBlock, *given: Tensor, adapt: RowAdapters | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return block.before_attention(*given, adapt=adapt)


def _after_attention(block: AttentionBlock, *given: Any) -> Tensor:
    return block.after_attention(*given)


def _span(runs: Sequence[SequenceRun]) -> slice:
    return slice(runs[0].rows.start, runs[-1].rows.stop)


def _advance(runs: Sequence[SequenceRun]) -> None:
    for run in runs:
        run.cache.advance(run.count, None if run.positions is None else int(run.positions.max()) + 1)
