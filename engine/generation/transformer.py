"""The layers of a decoder-only transformer, for any model family and for several sequences in a batch.

Each family provides its blocks (`engine.generation.blocks`). The rows of all sequences share the GEMMs; attention runs
on each sequence alone. On a CPU the result of a row does not depend on the others, to the last bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.generation.blocks import AttentionBlock, Block, StatefulBlock
from engine.generation.cuda_graphs import CudaGraphs, Rotary
from engine.generation.fused_decoder import FusedDecoder, can_fuse
from engine.layers.attention import CachedAttention, QuerySpan
from engine.layers.kv_cache import KeyValueCache, LayerCache, PrefixCache, SequenceCache, row_width
from engine.layers.linear import return_freed_memory
from engine.layers.lora import LoraAdapter, RowAdapters
from engine.stepwise import Stepwise, finished

TRIM_ROWS = 256  # of a prefill
FUSED_ROWS = 256  # rows from which attention of many rows is faster


@dataclass(frozen=True, eq=False)
class Deepstack:
    """Hidden states that are added to some rows of a run after certain layers (Meng et al. 2024, DeepStack).

    Attributes:
        rows: Indices within the run, (n,).
        states: Layer -> (n, dim).
    """

    rows: Tensor
    states: Mapping[int, Tensor]


@dataclass(frozen=True, eq=False)
class SequenceRun(QuerySpan):
    """The next rows of one sequence.

    Attributes:
        adapter: The LoRA adapter of these rows.
        positions: (rows,) or (rows, axes); None: they continue from the cache's `next_position`. If given,
            `next_position` becomes the largest plus one.
        deepstack: Visual features to add.
    """

    adapter: LoraAdapter | None = None
    positions: Tensor | None = None
    deepstack: Deepstack | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing is added to its rows between or inside the layers."""
        return self.adapter is None and self.deepstack is None


class Transformer:
    """Runs the layers of a decoder, between the embeddings and the final norm."""

    def __init__(
        self, blocks: Sequence[Block], rotary: Rotary, dtype: torch.dtype, device: str, *, position_axes: int = 1
    ) -> None:
        """Keep the layers; nothing is computed.

        Args:
            blocks: The layers, in order.
            rotary: Positions -> cosines and sines, one row a position.
            dtype: Of the caches.
            device: Where the caches lie.
            position_axes: Axes of a token's position: 3 for M-RoPE.
        """
        self.blocks, self.rotary = blocks, rotary
        self.dtype, self.device = dtype, device
        self.kv_dtype = dtype
        self.position_axes = position_axes
        self._before, self._after = _before_attention, _after_attention
        self._graphs: CudaGraphs | None = None
        self._fused = _fused_decoder(blocks, dtype, device)
        few_rows = (block.few_rows for block in blocks if block.few_rows)
        self._few_rows = min(few_rows, default=FUSED_ROWS if self._fused else None)

    def new_cache(self, prefix: PrefixCache | None = None) -> SequenceCache:
        """Return the cache of a sequence that continues a prefix; None: an empty one."""
        return prefix.fork() if prefix else SequenceCache([self._new_layer(block) for block in self.blocks])

    def _new_layer(self, block: Block) -> LayerCache:
        if isinstance(block, AttentionBlock):
            return KeyValueCache.new(block.kv_heads, block.head_dim, self.kv_dtype, self.device)
        assert isinstance(block, StatefulBlock)
        return block.new_cache(self.dtype, self.device)

    def extend(self, embeddings: Tensor, runs: Sequence[SequenceRun]) -> Tensor:
        """Run rows of several sequences through all layers and extend their caches.

        Args:
            embeddings: (rows, dim).
            runs: Consecutive rows, each run of a different sequence.

        Returns:
            Hidden states after the last layer, (rows, dim).
        """
        for run in runs:
            run.cache.reserve(run.count)
        steps = [
            self._step(embeddings[_span(group)], _from_zero(group), hidden=True)
            for group in self._split_by_kernel(runs)
        ]
        hidden = [finished(step) for step in steps]
        _advance(runs)
        return hidden[0] if len(hidden) == 1 else torch.cat(hidden)

    def prefill(self, embeddings: Tensor, runs: Sequence[SequenceRun]) -> None:
        """Fill caches as `extend` does, without hidden states; the caches are allocated without room to grow."""
        finished(self.prefill_in_steps(embeddings, runs))

    def prefill_in_steps(self, embeddings: Tensor, runs: Sequence[SequenceRun]) -> Stepwise[None]:
        """Do what `prefill` does, and yield between layers."""
        for run in runs:
            run.cache.reserve(run.count, exact=True)
        for group in self._split_by_kernel(runs):
            yield from self._step(embeddings[_span(group)], _from_zero(group), hidden=False)
        _advance(runs)
        if self.device == "cpu" and len(embeddings) >= TRIM_ROWS:  # their intermediate results are 0.2 GB of a 2B model
            return_freed_memory()

    @property
    def position_bytes(self) -> int:
        """Size of the key-value caches of one token."""
        blocks = (block for block in self.blocks if isinstance(block, AttentionBlock))
        elements = sum(2 * block.kv_heads * row_width(block.head_dim, self.kv_dtype) for block in blocks)
        return elements * self.kv_dtype.itemsize

    def quantize_cache(self, kv: str | None) -> None:
        """Keep keys and values of new caches in int8 if `kv` is "int8".

        Raises:
            ValueError: It is anything else but None.
        """
        if kv not in (None, "int8"):
            raise ValueError(f"kv must be int8, or left out, not {kv!r}")
        self.kv_dtype = torch.int8 if kv else self.dtype

    def compile(self) -> None:
        """Compile the layers with torch.compile, and capture small steps as CUDA graphs on a GPU.

        Attention, adapters and code with data-dependent shapes stay eager.
        """
        self._before = torch.compile(_before_attention, dynamic=True)
        self._after = torch.compile(_after_attention, dynamic=True)
        blocks = [block for block in self.blocks if isinstance(block, AttentionBlock)]
        if self.device.startswith("cuda") and len(blocks) == len(self.blocks):
            self._graphs = CudaGraphs(blocks, self.rotary, self._before, self._after_of)

    def _split_by_kernel(self, runs: Sequence[SequenceRun]) -> list[list[SequenceRun]]:
        """Split runs into batches in which no run gets another kernel than it would get alone."""
        groups: list[list[SequenceRun]] = [[]]
        rows = 0
        for run in runs:
            too_many = self._few_rows and rows + run.count >= self._few_rows
            if groups[-1] and (too_many or (self._fused and run.plain != groups[-1][0].plain)):
                groups.append([])
                rows = 0
            groups[-1].append(run)
            rows += run.count
        return groups

    def _step(self, x: Tensor, runs: Sequence[SequenceRun], *, hidden: bool) -> Stepwise[Tensor]:
        """Return the hidden states, by the kernels for these rows; if not `hidden`, see `_forward`."""
        positions = self._positions(runs)
        plain = all(run.plain for run in runs)
        if self._fused and plain and self._few_rows and len(x) < self._few_rows:
            return self._fused(x, *self.rotary(positions), runs, hidden=hidden)
        attention = CachedAttention(runs)
        if self._graphs and hidden and plain and len(x) <= self._graphs.max_rows:
            return self._graphs(x, positions, attention)
        return (yield from self._forward(x, positions, runs, attention, hidden=hidden))

    def _positions(self, runs: Sequence[SequenceRun]) -> Tensor:
        """Return the positions of all rows, (rows,) or (rows, axes)."""
        parts = []
        for run in runs:
            start = run.cache.next_position
            positions = torch.arange(start, start + run.count) if run.positions is None else run.positions
            if self.position_axes > 1 and positions.ndim == 1:
                positions = positions[:, None].expand(-1, self.position_axes)
            parts.append(positions)
        return torch.cat(parts).to(self.device)

    def _forward(
        self, x: Tensor, positions: Tensor, runs: Sequence[SequenceRun], attention: CachedAttention, *, hidden: bool
    ) -> Stepwise[Tensor]:
        """Return the hidden states, and yield after layers; if not `hidden`, stop once the last cache is written."""
        cos, sin = self.rotary(positions)
        adapters = [(run.rows, run.adapter) for run in runs if run.adapter]
        deepstack = [(run.deepstack.rows + run.rows.start, run.deepstack.states) for run in runs if run.deepstack]
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
            for rows, states in deepstack:
                if layer in states:
                    x[rows] += states[layer]
            yield
        return x

    def _after_of(self, block: AttentionBlock) -> Callable[..., Tensor]:
        return self._after if block.static_rows is None else _after_attention


def _fused_decoder(blocks: Sequence[Block], dtype: torch.dtype, device: str) -> FusedDecoder | None:
    """Return all layers for our CPU kernels; None if they can't compute one of them."""
    layers = [block.fused() for block in blocks]
    fused = [layer for layer in layers if layer and device == "cpu" and can_fuse(layer, dtype)]
    return FusedDecoder(fused, dtype) if len(fused) == len(blocks) else None


def _before_attention(
    block: AttentionBlock, *inputs: Tensor, adapt: RowAdapters | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return block.before_attention(*inputs, adapt=adapt)


def _after_attention(block: AttentionBlock, *inputs: Any) -> Tensor:
    return block.after_attention(*inputs)


def _from_zero(runs: Sequence[SequenceRun]) -> Sequence[SequenceRun]:
    """Return consecutive runs with rows that begin at 0."""
    first = runs[0].rows.start
    if not first:
        return runs
    return [replace(run, rows=slice(run.rows.start - first, run.rows.stop - first)) for run in runs]


def _span(runs: Sequence[SequenceRun]) -> slice:
    return slice(runs[0].rows.start, runs[-1].rows.stop)


def _advance(runs: Sequence[SequenceRun]) -> None:
    for run in runs:
        run.cache.advance(run.count, None if run.positions is None else int(run.positions.max()) + 1)
