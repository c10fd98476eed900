"""CUDA graphs of a step of few rows: what lies between its attentions, recorded once and then started by one call a
layer in place of some thirty, which take the CPU longer than they take the GPU.

Attention itself is not recorded: what it reads is another sequence's each time, and grows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from engine.generation.blocks import AttentionBlock

MOST_ROWS = 128

Rotary = Callable[[Tensor], tuple[Tensor, Tensor]]  # positions -> cosines and sines, a row for each


@dataclass(frozen=True)
class _Recorded:
    """Graphs that read `x`, `positions` and `attn_output`, of each layer, and write q, k and v of each, and
    `hidden`."""

    x: Tensor
    positions: Tensor
    attn_output: Sequence[Tensor]
    graphs: Sequence[torch.cuda.CUDAGraph]
    states: Sequence[tuple[Tensor, Tensor, Tensor]]
    hidden: Tensor


class CudaGraphs:
    """Layers of attention for up to `most_rows` rows: recorded for 1, 2, 4, ... of them when first needed."""

    def __init__(
        self,
        blocks: Sequence[AttentionBlock],
        rotary: Rotary,
        before: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]],
        after_of: Callable[[AttentionBlock], Callable[..., Tensor]],
    ) -> None:
        """before, and after_of a block: its `before_attention` and `after_attention`, given the block first."""
        self.blocks, self.rotary = blocks, rotary
        self.before, self.after_of = before, after_of
        limits = [block.static_rows for block in blocks if block.static_rows is not None]
        self.most_rows = min([MOST_ROWS, *limits])
        self._recorded: dict[int, _Recorded] = {}

    def __call__(self, x: Tensor, positions: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """(rows, dim) -> (rows, dim), calling attend(layer, q, k, v). positions: (rows), or (rows, axes)."""
        rows = x.shape[0]
        size = 1 << (rows - 1).bit_length()
        if size not in self._recorded:
            with torch.cuda.device(x.device):
                self._recorded[size] = self._record(
                    x.new_zeros(size, x.shape[1]), positions.new_zeros(size, *positions.shape[1:])
                )
        step = self._recorded[size]
        step.x[:rows], step.positions[:rows] = x, positions
        for layer, (q, k, v) in enumerate(step.states):
            step.graphs[layer].replay()
            step.attn_output[layer][:rows] = attend(layer, q[:, :rows], k[:, :rows], v[:, :rows])
        step.graphs[-1].replay()
        return step.hidden[:rows].clone()

    def _record(self, x: Tensor, positions: Tensor) -> _Recorded:
        pool = torch.cuda.graph_pool_handle()

        def first() -> tuple[Tensor, ...]:
            cos, sin = self.rotary(positions)
            return cos, sin, *self.before(self.blocks[0], x, positions, cos, sin, adapt=None)

        def between(
            x: Tensor, saved: Tensor, attn_output: Tensor, neighbours: tuple[AttentionBlock, AttentionBlock]
        ) -> tuple[Tensor, ...]:
            block, following = neighbours
            y = last(x, saved, attn_output, block)
            return y, *self.before(following, y, positions, cos, sin, adapt=None)

        def last(x: Tensor, saved: Tensor, attn_output: Tensor, block: AttentionBlock) -> Tensor:
            return self.after_of(block)(block, x, saved, attn_output, None)

        graph, (cos, sin, saved, q, k, v) = _captured(pool, first)
        graphs, states, inputs, y = [graph], [(q, k, v)], [_attn_output_buffer(q)], x
        for neighbours in pairwise(self.blocks):
            graph, (y, saved, q, k, v) = _captured(pool, between, y, saved, inputs[-1], neighbours)
            graphs.append(graph)
            states.append((q, k, v))
            inputs.append(_attn_output_buffer(q))
        graph, hidden = _captured(pool, last, y, saved, inputs[-1], self.blocks[-1])
        return _Recorded(x, positions, inputs, [*graphs, graph], states, hidden)


def _attn_output_buffer(q: Tensor) -> Tensor:
    """Room for what attention makes of q, (heads, rows, head dim): (rows, heads * head dim)."""
    return q.new_zeros(q.shape[1], q.shape[0] * q.shape[2])


def _captured(pool: Any, work: Callable[..., Any], *given: Any) -> tuple[torch.cuda.CUDAGraph, Any]:
    """The graph of work(*given), and what it writes each time that it is replayed."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work(*given)  # what a first call makes, such as compiled code and workspaces, must not be recorded
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        written = work(*given)
    return graph, written
