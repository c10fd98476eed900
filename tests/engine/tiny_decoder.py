"""A small decoder of an architecture that the engine does not have, and a float64 reference of it.

Attention before a gated MLP; RMS norms, also on each head's queries and keys; grouped-query attention; M-RoPE with
three axes; and some layers are short convolutions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.generation.blocks import AttentionBlock, StatefulBlock
from engine.generation.transformer import Transformer
from engine.layers.kv_cache import ConvCache
from engine.layers.linear import Linear
from engine.layers.lora import RowAdapters
from engine.layers.norms import rms_norm
from engine.layers.rotary import rotary_table, rotate
from engine.layers.short_conv import short_convolution

DIM, INNER, HEADS, KV_HEADS, HEAD_DIM, KERNEL, EPS = 64, 128, 4, 2, 32, 3, 1e-6
LAYERS = ("attention", "convolution", "attention", "attention")
BASE, POSITIONS, AXES = 10_000.0, 1024, 3

Weights = Mapping[str, Tensor]


def weights() -> Weights:
    """Return random weights in float64, by name."""
    generator = torch.Generator().manual_seed(5)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, kind in enumerate(LAYERS):
        name = f"layers.{layer}"
        shapes |= {f"{name}.norm": (DIM,), f"{name}.mlp_norm": (DIM,)}
        shapes |= {f"{name}.{part}": (INNER, DIM) for part in ("gate", "up")} | {f"{name}.down": (DIM, INNER)}
        if kind == "attention":
            shapes |= {f"{name}.q": (HEADS * HEAD_DIM, DIM), f"{name}.o": (DIM, HEADS * HEAD_DIM)}
            shapes |= {f"{name}.{part}": (KV_HEADS * HEAD_DIM, DIM) for part in ("k", "v")}
            shapes |= {f"{name}.{part}": (HEAD_DIM,) for part in ("q_norm", "k_norm")}
        else:
            shapes |= {f"{name}.in": (3 * DIM, DIM), f"{name}.kernel": (DIM, KERNEL), f"{name}.out": (DIM, DIM)}
    made = {}
    for name, shape in shapes.items():
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        made[name] = 1 + 0.3 * drawn if len(shape) == 1 else drawn / shape[1] ** 0.5
    return made


@dataclass(frozen=True)
class Gated:
    norm: Tensor
    gate: Linear
    up: Linear
    down: Linear

    def __call__(self, x: Tensor, adapt: RowAdapters | None) -> Tensor:
        h = rms_norm(x, self.norm, EPS)
        inner = F.silu(self.gate(h)) * self.up(h)
        y = self.down(inner)
        if adapt:
            adapt(y, inner, "down")
        return x + y


@dataclass(frozen=True)
class Attention(AttentionBlock):
    name: str
    norm: Tensor
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    q_norm: Tensor
    k_norm: Tensor
    mlp: Gated
    kv_heads: int = KV_HEADS
    head_dim: int = HEAD_DIM

    def before_attention(
        self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, adapt: RowAdapters | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h = rms_norm(x, self.norm, EPS)
        q = self.q(h)
        if adapt:
            adapt(q, h, "q")
        q, k, v = (y.unflatten(1, (-1, HEAD_DIM)) for y in (q, self.k(h), self.v(h)))
        q, k = (rotate(rms_norm(y, norm, EPS), cos, sin) for y, norm in ((q, self.q_norm), (k, self.k_norm)))
        return h, q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)

    def after_attention(
        self, x: Tensor, saved: Tensor, attn_output: Tensor, adapt: RowAdapters | None = None
    ) -> Tensor:
        return self.mlp(x + self.o(attn_output), adapt)


@dataclass(frozen=True)
class Convolution(StatefulBlock):
    name: str
    norm: Tensor
    inputs: Linear
    kernel: Tensor
    out: Linear
    mlp: Gated

    def new_cache(self, dtype: torch.dtype, device: str) -> ConvCache:
        return ConvCache.new(DIM, KERNEL, dtype, device)

    def advance(self, x: Tensor, sequences: Sequence[tuple[ConvCache, slice]], adapt: RowAdapters | None) -> Tensor:
        before, after, inputs = self.inputs(rms_norm(x, self.norm, EPS)).chunk(3, dim=1)
        attn_output = short_convolution(before * inputs, self.kernel, sequences)
        return self.mlp(x + self.out(after * attn_output), adapt)


def rotary(positions: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return rotary angles of positions (rows, 3); the pairs of a head alternate between the three axes."""
    cos, sin = (table.to(dtype) for table in rotary_table(HEAD_DIM, BASE, POSITIONS, "cpu"))
    pair = torch.arange(HEAD_DIM // 2)
    at = positions[:, pair % AXES]
    return cos[at, pair], sin[at, pair]


def decoder(dtype: torch.dtype = torch.float32) -> Transformer:
    own = {name: tensor.to(dtype) for name, tensor in weights().items()}

    def linear(name: str) -> Linear:
        return Linear(own[name], None, packed=True)

    blocks: list[Attention | Convolution] = []
    for layer, kind in enumerate(LAYERS):
        name = f"layers.{layer}"
        mlp = Gated(own[f"{name}.mlp_norm"], *(linear(f"{name}.{part}") for part in ("gate", "up", "down")))
        if kind == "attention":
            q, k, v, o = (linear(f"{name}.{part}") for part in ("q", "k", "v", "o"))
            q_norm, k_norm = (own[f"{name}.{part}"] for part in ("q_norm", "k_norm"))
            blocks.append(Attention(name, own[f"{name}.norm"], q, k, v, o, q_norm, k_norm, mlp))
        else:
            blocks.append(
                Convolution(
                    name, own[f"{name}.norm"], linear(f"{name}.in"), own[f"{name}.kernel"], linear(f"{name}.out"), mlp
                )
            )
    return Transformer(blocks, rotary, dtype, "cpu", position_axes=AXES)


def reference_hidden_states(
    x: Tensor,
    seen: Tensor | None = None,
    positions: Tensor | None = None,
    added: Mapping[int, Tensor] | None = None,
    adapters: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """Compute the hidden states of a whole sequence in float64.

    x: (rows, dim). seen: attention mask, (rows, rows); causal by default. positions: (rows, 3). added: to the output of
    a layer, (rows, dim). adapters: A and B of linears by name.
    """
    own, x = weights(), x.double()
    rows = len(x)
    seen = torch.ones(rows, rows, dtype=torch.bool).tril() if seen is None else seen
    positions = torch.arange(rows)[:, None].expand(-1, AXES) if positions is None else positions
    cos, sin = (table[:, None] for table in rotary(positions, torch.float64))

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * own[name]

    def linear(x: Tensor, name: str) -> Tensor:
        y = x @ own[name].T
        if adapters and name in adapters:
            a, b = adapters[name]
            y = y + x @ a.double().T @ b.double().T
        return y

    def turned(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    for layer, kind in enumerate(LAYERS):
        name = f"layers.{layer}"
        h = norm(x, f"{name}.norm")
        if kind == "attention":
            q, k, v = (linear(h, f"{name}.{part}").unflatten(1, (-1, HEAD_DIM)) for part in "qkv")
            q, k = turned(norm(q, f"{name}.q_norm")), turned(norm(k, f"{name}.k_norm"))
            k, v = (y.repeat_interleave(HEADS // KV_HEADS, 1) for y in (k, v))
            scores = torch.einsum("ihd,jhd->hij", q, k) / HEAD_DIM**0.5
            weights_of = torch.softmax(scores.masked_fill(~seen, -torch.inf), -1)
            x = x + linear(torch.einsum("hij,jhd->ihd", weights_of, v).flatten(1), f"{name}.o")
        else:
            before, after, inputs = linear(h, f"{name}.in").chunk(3, 1)
            padded = F.pad(before * inputs, (0, 0, KERNEL - 1, 0))
            attn_output = sum(padded[i : i + rows] * own[f"{name}.kernel"][:, i] for i in range(KERNEL))
            x = x + linear(after * attn_output, f"{name}.out")
        h = norm(x, f"{name}.mlp_norm")
        x = x + linear(F.silu(linear(h, f"{name}.gate")) * linear(h, f"{name}.up"), f"{name}.down")
        if added and layer in added:
            x = x + added[layer].double()
    return x
