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

from engine.moondream.block import Block
from engine.moondream.experts import FEW, Experts

MOST_ROWS = 128


@dataclass(frozen=True)
class _Recorded:
    """Graphs that read `x`, `positions` and `mixed` and write `states` (q, k and v of each layer) and `hidden`."""

    x: Tensor
    positions: Tensor
    mixed: Tensor
    graphs: Sequence[torch.cuda.CUDAGraph]
    states: Sequence[tuple[Tensor, Tensor, Tensor]]
    hidden: Tensor


class StepGraphs:
    """The blocks of a text model for up to `most_rows` rows: recorded for 1, 2, 4, ... of them when first needed."""

    def __init__(
        self,
        blocks: Sequence[Block],
        cos: Tensor,
        sin: Tensor,
        enter: Callable[..., Any],
        leave_of: Callable[[Block], Callable[..., Tensor]],
    ) -> None:
        """cos, sin: of all positions. enter, and leave_of a block: as in `engine.moondream.block`."""
        self.blocks, self.cos, self.sin = blocks, cos, sin
        self.enter, self.leave_of = enter, leave_of
        of_experts = any(isinstance(block.mlp, Experts) for block in blocks)
        self.most_rows = FEW if of_experts else MOST_ROWS  # more rows of experts are counted on the CPU
        self._recorded: dict[int, _Recorded] = {}

    def __call__(self, x: Tensor, positions: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """(rows, dim) -> (rows, dim), calling attend(layer, q, k, v) as `Text` does."""
        rows = x.shape[0]
        size = 1 << (rows - 1).bit_length()
        if size not in self._recorded:
            with torch.cuda.device(x.device):
                self._recorded[size] = self._record(size, x.dtype)
        step = self._recorded[size]
        step.x[:rows], step.positions[:rows] = x, positions
        for layer, (q, k, v) in enumerate(step.states):
            step.graphs[layer].replay()
            step.mixed[:rows] = attend(layer, q[:, :rows], k[:, :rows], v[:, :rows])
        step.graphs[-1].replay()
        return step.hidden[:rows].clone()

    def _record(self, rows: int, dtype: torch.dtype) -> _Recorded:
        device, block = self.cos.device, self.blocks[0]
        x = torch.zeros(rows, block.norm[0].shape[0], dtype=dtype, device=device)
        positions = torch.zeros(rows, dtype=torch.long, device=device)
        mixed = torch.zeros(rows, block.heads * block.head_dim, dtype=dtype, device=device)
        pool = torch.cuda.graph_pool_handle()

        def first() -> tuple[Tensor, ...]:
            cos, sin = self.cos[positions], self.sin[positions]
            return cos, sin, *self.enter(x, block, positions, cos, sin, None)

        def between(x: Tensor, h: Tensor, before: Block, after: Block) -> tuple[Tensor, ...]:
            y = last(x, h, before)
            return y, *self.enter(y, after, positions, cos, sin, None)

        def last(x: Tensor, h: Tensor, block: Block) -> Tensor:
            return self.leave_of(block)(x, h, mixed, block, None)

        graph, (cos, sin, h, q, k, v) = _captured(pool, first)
        graphs, states, y = [graph], [(q, k, v)], x
        for before, after in pairwise(self.blocks):
            graph, (y, h, q, k, v) = _captured(pool, between, y, h, before, after)
            graphs.append(graph)
            states.append((q, k, v))
        graph, hidden = _captured(pool, last, y, h, self.blocks[-1])
        return _Recorded(x, positions, mixed, [*graphs, graph], states, hidden)


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
