"""CUDA graphs of decode steps with few rows: everything between two attentions is captured once, then replayed.

One launch a layer replaces some thirty, which take the CPU longer than the GPU. Attention itself is not captured: its
key-value caches differ at each step, and grow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from engine.generation.blocks import AttentionBlock

MAX_ROWS = 128

Rotary = Callable[[Tensor], tuple[Tensor, Tensor]]  # positions -> cosines and sines, one row a position


@dataclass(frozen=True)
class _CapturedStep:
    """Graphs with their static buffers.

    Attributes:
        x: Input, (rows, dim).
        positions: Input, (rows,) or (rows, axes).
        attn_output: Input, for each layer (rows, heads * head_dim).
        graphs: One before each attention, and one after the last.
        states: Output, for each layer q, k and v.
        hidden: Output, (rows, dim).
    """

    x: Tensor
    positions: Tensor
    attn_output: Sequence[Tensor]
    graphs: Sequence[torch.cuda.CUDAGraph]
    states: Sequence[tuple[Tensor, Tensor, Tensor]]
    hidden: Tensor


class CudaGraphs:
    """Attention layers for up to `max_rows` rows, captured for 1, 2, 4, ... rows when first needed."""

    def __init__(
        self,
        blocks: Sequence[AttentionBlock],
        rotary: Rotary,
        before: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]],
        after_of: Callable[[AttentionBlock], Callable[..., Tensor]],
    ) -> None:
        """Keep the layers; nothing is captured yet.

        Args:
            blocks: All layers of the decoder.
            rotary: Rotary cosines and sines of positions.
            before: `before_attention`, with the block as its first argument.
            after_of: Returns the `after_attention` to use for a block, with the block as its first argument.
        """
        self.blocks, self.rotary = blocks, rotary
        self.before, self.after_of = before, after_of
        limits = [block.static_rows for block in blocks if block.static_rows is not None]
        self.max_rows = min([MAX_ROWS, *limits])
        self._captured: dict[int, _CapturedStep] = {}  # by number of rows

    def __call__(self, x: Tensor, positions: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Run all layers.

        Args:
            x: Embeddings, (rows, dim).
            positions: (rows,) or (rows, axes).
            attend: attend(layer, q, k, v) -> attention output, (rows, heads * head_dim).

        Returns:
            Hidden states, (rows, dim).
        """
        rows = x.shape[0]
        size = 1 << (rows - 1).bit_length()
        if size not in self._captured:
            with torch.cuda.device(x.device):
                self._captured[size] = self._capture(
                    x.new_zeros(size, x.shape[1]), positions.new_zeros(size, *positions.shape[1:])
                )
        step = self._captured[size]
        step.x[:rows], step.positions[:rows] = x, positions
        for layer, (q, k, v) in enumerate(step.states):
            step.graphs[layer].replay()
            step.attn_output[layer][:rows] = attend(layer, q[:, :rows], k[:, :rows], v[:, :rows])
        step.graphs[-1].replay()
        return step.hidden[:rows].clone()

    def _capture(self, x: Tensor, positions: Tensor) -> _CapturedStep:
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

        graph, (cos, sin, saved, q, k, v) = _capture_graph(pool, first)
        graphs, states, inputs, y = [graph], [(q, k, v)], [_attn_output_buffer(q)], x
        for neighbours in pairwise(self.blocks):
            graph, (y, saved, q, k, v) = _capture_graph(pool, between, y, saved, inputs[-1], neighbours)
            graphs.append(graph)
            states.append((q, k, v))
            inputs.append(_attn_output_buffer(q))
        graph, hidden = _capture_graph(pool, last, y, saved, inputs[-1], self.blocks[-1])
        return _CapturedStep(x, positions, inputs, [*graphs, graph], states, hidden)


def _attn_output_buffer(q: Tensor) -> Tensor:
    """Allocate (rows, heads * head_dim) for a q of (heads, rows, head_dim)."""
    return q.new_zeros(q.shape[1], q.shape[0] * q.shape[2])


def _capture_graph(pool: Any, work: Callable[..., Any], *args: Any) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Return the graph of work(*args), and the tensors that each replay writes."""
    side_stream = cast(Callable[[], torch.cuda.Stream], torch.cuda.Stream)()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        work(*args)  # warm-up: what a first call creates, such as compiled code and workspaces, must not be captured
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        outputs = work(*args)
    return graph, outputs
