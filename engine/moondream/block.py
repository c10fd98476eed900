"""A block of the text model: attention and MLP in parallel, on the same normalised input (as in Phi-1.5)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.generation.blocks import AttentionBlock
from engine.generation.fused_decoder import FusedAttention, FusedLayer, FusedLinear, FusedNorm
from engine.kernels.structures import GELU
from engine.layers.activations import by_row
from engine.layers.linear import Linear, LinearLayer
from engine.layers.linear_dispatch import few_rows
from engine.layers.lora import RowAdapters
from engine.layers.norms import NORM_EPS, Norm, layer_norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotate
from engine.moondream.config import TextConfig
from engine.moondream.experts import Experts


@dataclass(frozen=True)
class Tau:
    """Scales each head's queries and values by token and by position (Moondream 3).

    Attributes:
        by_token: qkv -> (rows, 2 * heads), the factors of the queries, then of the values.
        by_position: (max_context, heads).
    """

    by_token: Linear
    by_position: Tensor


@dataclass(frozen=True)
class Mlp:
    """Two linears with a tanh-approximated GELU between them."""

    fc1: LinearLayer
    fc2: LinearLayer


@dataclass(frozen=True)
class Block(AttentionBlock):
    """A block of the text model; its name is "text.blocks.0", ..."""

    name: str
    norm: Norm
    qkv: LinearLayer
    proj: LinearLayer
    mlp: Mlp | Experts
    tau: Tau | None
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def few_rows(self) -> int | None:
        """Rows from which the GEMMs use another kernel; see `engine.generation.blocks.Block`."""
        return few_rows(self.qkv)

    @property
    def static_rows(self) -> int | None:
        """Most rows without data-dependent shapes: limited by the experts, if the block has any."""
        return self.mlp.static_rows if isinstance(self.mlp, Experts) else None

    def fused(self) -> FusedLayer | None:
        """Return the layer for our CPU kernels; see `AttentionBlock.fused`."""
        if self.tau or isinstance(self.mlp, Experts):
            return None
        norm = FusedNorm(*self.norm, eps=NORM_EPS)
        before = [
            FusedLinear(self.qkv, "x", "qkv", norm=norm),
            FusedLinear(self.mlp.fc1, "x", "inner", norm=norm, activation=GELU),
        ]
        after = [
            FusedLinear(self.proj, "attention", "y", residual="x"),
            FusedLinear(self.mlp.fc2, "inner", "y", residual="y"),
        ]
        mixer = FusedAttention(self.heads, self.kv_heads, self.head_dim, interleaved=True)
        return FusedLayer(before, mixer, after)

    def before_attention(
        self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, adapt: RowAdapters | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the normalised input, q, k and v; see `AttentionBlock.before_attention`."""
        h = layer_norm(x, self.norm)
        qkv = self.qkv(h)
        if adapt:
            adapt(qkv, h, "attn.qkv")
        qk, v = qkv.view(qkv.shape[0], -1, self.head_dim).tensor_split([self.heads + self.kv_heads], dim=1)
        if tau := self.tau:
            q_scale, v_scale = by_row(torch.tanh, tau.by_token(F.gelu(qkv))).chunk(2, dim=1)
            by_position = tau.by_position[positions]
            qk[:, : self.heads] *= (q_scale + by_position)[..., None]
            v *= (v_scale + by_position)[..., None]
        q, k = rotate(qk, cos, sin, interleaved=True).transpose(0, 1).tensor_split([self.heads])
        return h, q, k, v.transpose(0, 1)

    def after_attention(self, x: Tensor, h: Tensor, attn_output: Tensor, adapt: RowAdapters | None = None) -> Tensor:
        """Return x plus the projected attention output and the MLP of h; see `AttentionBlock.after_attention`.

        Args:
            x: The block's input, (rows, dim).
            h: The normalised input, (rows, dim).
            attn_output: (rows, heads * head_dim).
            adapt: Adds the rows' LoRA adapters; None if no row has one.
        """
        y = self.proj(attn_output)
        if adapt:
            adapt(y, h, "attn.proj")  # as in the reference: the adapter's input is h, not the attention output
        if isinstance(self.mlp, Experts):
            y += self.mlp(h)
        elif adapt:
            inner = self.mlp.fc1(h)
            adapt(inner, h, "mlp.fc1")
            inner = F.gelu(inner, approximate="tanh")
            outer = self.mlp.fc2(inner)
            adapt(outer, inner, "mlp.fc2")
            y += outer
        else:
            y += self.mlp.fc2(self.mlp.fc1(h, gelu=True))
        return y + x


def text_block(text: TextConfig, reader: ParameterReader, layer: int) -> Block:
    """Build the block of a layer from its weights, with experts from moe.start_layer on."""
    moe, name = text.moe, f"blocks.{layer}"
    tau = None
    if text.tau:
        by_token = torch.cat([reader(f"{name}.attn.tau.wq"), reader(f"{name}.attn.tau.wv")])
        alpha = reader(f"{name}.attn.tau.alpha")
        logs = torch.arange(1, text.max_context + 1, dtype=torch.float32, device=alpha.device).log().to(alpha.dtype)
        tau = Tau(Linear(by_token, None, reader.packed), 0.5 + torch.sigmoid(alpha * logs[:, None]))
    mlp: Mlp | Experts
    if moe and layer >= moe.start_layer:
        router = reader.linear(f"{name}.mlp.router")
        up, down = reader(f"{name}.mlp.fc1.weight"), reader(f"{name}.mlp.fc2.weight")
        mlp = Experts(router, up, down, per_token=moe.experts_per_token, packed=reader.packed)
    else:
        mlp = Mlp(reader.linear(f"{name}.mlp.fc1"), reader.linear(f"{name}.mlp.fc2"))
    qkv, proj = reader.linear(f"{name}.attn.qkv"), reader.linear(f"{name}.attn.proj")
    heads = text.n_heads, text.n_kv_heads, text.head_dim
    return Block(f"{reader.part}.{name}", reader.norm(f"{name}.ln"), qkv, proj, mlp, tau, *heads)
