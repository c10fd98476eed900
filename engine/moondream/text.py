"""The text model: a decoder with parallel attention and MLP (as in Phi-1.5), after a picture's bidirectional prefix.

Rows of several sequences go through the linears together; attention is each sequence's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.attention import attend_all, attend_tail
from engine.cache import Prefix, Tail
from engine.linear import Linear
from engine.moondream.adapter import Adapter
from engine.moondream.config import Config
from engine.moondream.moe import Experts
from engine.moondream.parts import Norm, Take, by_row, layer_norm, linear, norm
from engine.moondream.rotary import rotary_table, rotate
from engine.moondream.weights import Source


@dataclass(frozen=True)
class Run:
    """`rows` of the batch belong to one sequence and come next in its tail."""

    tail: Tail
    rows: slice
    adapter: Adapter | None = None


@dataclass(frozen=True)
class Tau:
    """How much each head's queries and values are scaled, by what the token is and by where it stands."""

    by_token: Linear  # to (2 * heads): those of the queries, then of the values
    by_position: Tensor  # (max_context, heads)


@dataclass(frozen=True)
class Mlp:
    fc1: Linear
    fc2: Linear


@dataclass(frozen=True)
class Block:
    norm: Norm
    qkv: Linear
    proj: Linear
    mlp: Mlp | Experts
    tau: Tau | None
    heads: int
    kv_heads: int
    head_dim: int


class Text:
    """Embeddings (rows, dim) in, hidden states (rows, dim) out; logits from those."""

    def __init__(self, config: Config, weights: Source, dtype: torch.dtype, device: str, packed: bool) -> None:
        self.config = config.text
        self.dtype, self.device = dtype, device

        def take(name: str) -> Tensor:
            return weights.take(f"text.{name}", dtype, device)

        self.embeddings = take("wte")
        self.blocks = [_block(config, take, layer, packed) for layer in range(config.text.n_layers)]
        self.post_norm = norm(take, "post_ln")
        self.head = linear(take, "lm_head", packed)
        self.cos, self.sin = rotary_table(config.text, device)
        self._enter, self._leave = enter, leave

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """(tokens, dim)."""
        return self.embeddings[torch.tensor(tokens, dtype=torch.long, device=self.device)]

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
            run.tail.reserve(run.rows.stop - run.rows.start)
        starts = [(run.tail.position, run.rows.stop - run.rows.start) for run in runs]
        positions = torch.cat([torch.arange(at, at + count) for at, count in starts]).to(self.device)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            mixed = []
            for run in runs:
                run.tail.write(layer, k[:, run.rows], v[:, run.rows])
                mixed.append(attend_tail(q[:, run.rows], run.tail, layer))
            return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

        hidden = self._forward(embeddings, positions, [(run.rows, run.adapter) for run in runs], attend)
        for run, (_, count) in zip(runs, starts, strict=True):
            run.tail.length += count
        return hidden

    def compile(self) -> None:
        """Fuses what stands between the products; attention, experts and adapters stay as they are."""
        self._enter, self._leave = torch.compile(enter, dynamic=True), torch.compile(leave, dynamic=True)

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
            leave_block = leave if adapt or isinstance(block.mlp, Experts) else self._leave
            h, q, k, v = enter_block(x, block, positions, cos, sin, adapt)
            mixed = attend(layer, q, k, v)
            if mixed is None:
                break
            x = leave_block(x, h, mixed, block, adapt)
        return x


@dataclass(frozen=True)
class Adapt:
    """Adds to a product what the adapters of its rows make of its input."""

    adapters: Sequence[tuple[slice, Adapter]]
    block: str

    def __call__(self, y: Tensor, x: Tensor, part: str) -> None:
        for rows, adapter in self.adapters:
            if pair := adapter.pairs.get(f"{self.block}.{part}"):
                y[rows] += x[rows] @ pair[0].T @ pair[1].T


def enter(
    x: Tensor, block: Block, positions: Tensor, cos: Tensor, sin: Tensor, adapt: Adapt | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The normalised rows, and of them q: (heads, rows, head dim), k and v: (kv heads, rows, head dim)."""
    h = layer_norm(x, block.norm)
    qkv = block.qkv(h)
    if adapt:
        adapt(qkv, h, "attn.qkv")
    q, k, v = qkv.view(qkv.shape[0], -1, block.head_dim).split([block.heads, block.kv_heads, block.kv_heads], dim=1)
    if tau := block.tau:
        for_q, for_v = by_row(torch.tanh, tau.by_token(F.gelu(qkv))).chunk(2, dim=1)
        by_position = tau.by_position[positions]
        q, v = q * (for_q + by_position)[..., None], v * (for_v + by_position)[..., None]
    return h, rotate(q, cos, sin).transpose(0, 1), rotate(k, cos, sin).transpose(0, 1), v.transpose(0, 1)


def leave(x: Tensor, h: Tensor, mixed: Tensor, block: Block, adapt: Adapt | None = None) -> Tensor:
    """x with what the block adds: attention's result `mixed`, (rows, heads * head dim), projected, and the MLP's."""
    y = block.proj(mixed)
    if adapt:
        adapt(y, h, "attn.proj")  # the reference adapts by the block's input, not by what attention made of it
    if isinstance(block.mlp, Experts):
        y += block.mlp(h)
    elif adapt:
        inner = block.mlp.fc1(h)
        adapt(inner, h, "mlp.fc1")
        inner = F.gelu(inner, approximate="tanh")
        outer = block.mlp.fc2(inner)
        adapt(outer, inner, "mlp.fc2")
        y += outer
    else:
        y += block.mlp.fc2(block.mlp.fc1(h, gelu=True))
    return y + x


def _block(config: Config, take: Take, layer: int, packed: bool) -> Block:
    text, moe, name = config.text, config.text.moe, f"blocks.{layer}"

    tau = None
    if text.tau:
        by_token = torch.cat([take(f"{name}.attn.tau.wq"), take(f"{name}.attn.tau.wv")])
        alpha = take(f"{name}.attn.tau.alpha")
        places = torch.arange(1, text.max_context + 1, dtype=torch.float32, device=alpha.device).log().to(alpha.dtype)
        tau = Tau(Linear(by_token, None, packed), 0.5 + torch.sigmoid(alpha * places[:, None]))
    mlp: Mlp | Experts
    if moe and layer >= moe.start_layer:
        router = linear(take, f"{name}.mlp.router", packed)
        up, down = take(f"{name}.mlp.fc1.weight"), take(f"{name}.mlp.fc2.weight")
        mlp = Experts(router, up, down, moe.experts_per_token, packed)
    else:
        mlp = Mlp(linear(take, f"{name}.mlp.fc1", packed), linear(take, f"{name}.mlp.fc2", packed))
    qkv, proj = linear(take, f"{name}.attn.qkv", packed), linear(take, f"{name}.attn.proj", packed)
    return Block(norm(take, f"{name}.ln"), qkv, proj, mlp, tau, text.n_heads, text.n_kv_heads, text.head_dim)
