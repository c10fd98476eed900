"""The text model: a decoder with parallel attention and MLP (as in Phi-1.5), after a picture's bidirectional prefix.

Rows of several sequences go through the linears together; attention is each sequence's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.generation.step_graphs import StepGraphs
from engine.layers.attention import attend_all, attend_tails, readings
from engine.layers.int4_linear import MANY, Int4Linear
from engine.layers.kv_cache import Prefix, Tail
from engine.layers.lora import Adapter
from engine.layers.norms import layer_norm
from engine.layers.parameters import ParameterReader
from engine.moondream.block import Adapt, Block, enter, leave, text_block
from engine.moondream.config import TextConfig
from engine.moondream.experts import Experts
from engine.moondream.rotary import rotary_table
from engine.quantization.formats import Int4


@dataclass(frozen=True)
class Run:
    """`rows` of the batch belong to one sequence and come next in its tail."""

    tail: Tail
    rows: slice
    adapter: Adapter | None = None

    @property
    def count(self) -> int:
        return self.rows.stop - self.rows.start


class Text:
    """Embeddings (rows, dim) in, hidden states (rows, dim) out; logits from those."""

    def __init__(self, config: TextConfig, reader: ParameterReader) -> None:
        self.config = config
        self.dtype, self.device = reader.dtype, reader.device
        kept = reader.matrix("wte")
        self.embeddings = kept.dequantize(reader.dtype) if isinstance(kept, Int4) else kept
        self.blocks = [text_block(config, reader, layer) for layer in range(config.n_layers)]
        self.post_norm = reader.norm("post_ln")
        self.head = reader.linear("lm_head")
        self.cos, self.sin = rotary_table(config, reader.device)
        self._enter, self._leave = enter, leave
        self._graphs: StepGraphs | None = None
        self._few = MANY if isinstance(self.blocks[0].qkv, Int4Linear) else None

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """(tokens, dim)."""
        rows = torch.tensor(tokens, dtype=torch.long, device=self.device)
        if isinstance(self.embeddings, Tensor):
            return self.embeddings[rows]
        return self.embeddings.rows(rows, self.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, dim) -> (rows, vocabulary)."""
        return self.head(layer_norm(hidden, self.post_norm))

    def new_tail(self, prefix: Prefix | None) -> Tail:
        shape = (self.config.n_layers, self.config.n_kv_heads, self.config.head_dim)
        return Tail(shape, prefix, self.dtype, self.device)

    def prefixes(self, embeddings: Tensor, adapter: Adapter | None = None) -> list[Prefix]:
        """Reads the starts of n texts, (n, rows, dim), in each of which all rows see each other."""
        n, rows, _ = embeddings.shape
        shape = (self.config.n_layers, self.config.n_kv_heads, rows, self.config.head_dim)
        prefixes = [Prefix(embeddings.new_empty(shape), embeddings.new_empty(shape)) for _ in range(n)]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
            q, k, v = (x.unflatten(1, (n, rows)).transpose(0, 1).contiguous() for x in (q, k, v))
            for prefix, own_keys, own_values in zip(prefixes, k, v, strict=True):
                prefix.keys[layer], prefix.values[layer] = own_keys, own_values
            if layer == self.config.n_layers - 1:
                return None  # nobody asks for the hidden states of a prefix
            return attend_all(q, k, v)

        positions = torch.arange(rows, device=self.device).repeat(n)
        self._forward(embeddings.flatten(0, 1), positions, [(slice(0, n * rows), adapter)], attend)
        return prefixes

    def extend(self, embeddings: Tensor, runs: Sequence[Run]) -> Tensor:
        """Takes each run's rows into its tail. Returns the hidden states (rows, dim), before the last norm."""
        for run in runs:
            run.tail.reserve(run.count)
        hidden = [self._extend(embeddings[some[0].rows.start : some[-1].rows.stop], some) for some in self._alike(runs)]
        for run in runs:
            run.tail.length += run.count
        return hidden[0] if len(hidden) == 1 else torch.cat(hidden)

    def _alike(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Runs that go through one kernel each: which one a run's rows take must not depend on the other runs."""
        parts: list[list[Run]] = [[]]
        rows = 0
        for run in runs:
            if parts[-1] and self._few and rows + run.count >= self._few:
                parts.append([])
                rows = 0
            parts[-1].append(run)
            rows += run.count
        return parts

    def _extend(self, embeddings: Tensor, runs: Sequence[Run]) -> Tensor:
        first = runs[0].rows.start
        runs = [replace(run, rows=slice(run.rows.start - first, run.rows.stop - first)) for run in runs]
        starts = [(run.tail.position, run.count) for run in runs]
        positions = torch.cat([torch.arange(at, at + count) for at, count in starts]).to(self.device)

        by_prefix = readings((run.tail, run.rows) for run in runs)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for run in runs:
                run.tail.write(layer, k[:, run.rows], v[:, run.rows])
            return attend_tails(q, by_prefix, layer)

        if self._graphs and len(embeddings) <= self._graphs.most_rows and not any(run.adapter for run in runs):
            return self._graphs(embeddings, positions, attend)
        return self._forward(embeddings, positions, [(run.rows, run.adapter) for run in runs], attend)

    def compile(self) -> None:
        """Fuses what stands between the products; attention, experts and adapters stay as they are.

        Where there is CUDA, steps of few rows become graphs too.
        """
        self._enter, self._leave = torch.compile(enter, dynamic=True), torch.compile(leave, dynamic=True)
        if self.device.startswith("cuda"):
            self._graphs = StepGraphs(self.blocks, self.cos, self.sin, self._enter, self._leave_of)

    def _leave_of(self, block: Block) -> Callable[..., Tensor]:
        return leave if isinstance(block.mlp, Experts) else self._leave

    def _forward(
        self,
        x: Tensor,
        positions: Tensor,
        adapters: Sequence[tuple[slice, Adapter | None]],
        attend: Callable[[int, Tensor, Tensor, Tensor], Tensor | None],
    ) -> Tensor:
        """Layer by layer, until `attend` gives None."""
        cos, sin = self.cos[positions], self.sin[positions]
        given = [(rows, adapter) for rows, adapter in adapters if adapter]
        for layer, block in enumerate(self.blocks):
            adapt = Adapt(given, f"text.blocks.{layer}") if given else None
            enter_block = enter if adapt else self._enter
            leave_block = leave if adapt else self._leave_of(block)
            h, q, k, v = enter_block(x, block, positions, cos, sin, adapt)
            mixed = attend(layer, q, k, v)
            if mixed is None:
                break
            x = leave_block(x, h, mixed, block, adapt)
        return x
