"""The layers of the LFM2 text model: a short convolution or grouped-query attention, then a gated MLP (SwiGLU)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.generation.blocks import AttentionBlock, Block, StatefulBlock
from engine.layers.kv_cache import ConvCache
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import few_rows
from engine.layers.lora import RowAdapters
from engine.layers.norms import rms_norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotate
from engine.layers.short_conv import short_convolution
from engine.layers.swiglu import SwiGlu
from engine.lfm2vl.config import CONV, TextConfig


@dataclass(frozen=True)
class ConvBlock(StatefulBlock):
    """A layer with a gated short convolution: y = out(C * conv(B * X)), with B, C and X from one projection."""

    name: str
    norm: Tensor
    in_proj: LinearLayer
    kernel: Tensor
    out_proj: LinearLayer
    mlp_norm: Tensor
    mlp: SwiGlu
    eps: float

    @property
    def few_rows(self) -> int | None:
        """Rows from which the GEMMs use another kernel; see `engine.generation.blocks.Block`."""
        return few_rows(self.in_proj)

    def new_cache(self, dtype: torch.dtype, device: str) -> ConvCache:
        """Return the state at the start of a sequence; see `StatefulBlock.new_cache`."""
        return ConvCache.new(self.kernel.shape[0], self.kernel.shape[1], dtype, device)

    def advance(self, x: Tensor, sequences: Sequence[tuple[Any, slice]], adapt: RowAdapters | None) -> Tensor:
        """Compute the layer's output; see `StatefulBlock.advance`."""
        h = rms_norm(x, self.norm, self.eps)
        bcx = self.in_proj(h)
        if adapt:
            adapt(bcx, h, "conv.in_proj")
        b, c, inputs = bcx.chunk(3, dim=1)
        h = c * short_convolution(b * inputs, self.kernel, sequences)
        y = self.out_proj(h)
        if adapt:
            adapt(y, h, "conv.out_proj")
        x = x + y
        return x + self.mlp(rms_norm(x, self.mlp_norm, self.eps), adapt)


@dataclass(frozen=True)
class GroupedAttentionBlock(AttentionBlock):
    """A layer with grouped-query attention (Ainslie et al. 2023) and RMSNorm on queries and keys."""

    name: str
    norm: Tensor
    qkv: LinearLayer
    q_norm: Tensor
    k_norm: Tensor
    out_proj: LinearLayer
    mlp_norm: Tensor
    mlp: SwiGlu
    eps: float
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def few_rows(self) -> int | None:
        """Rows from which the GEMMs use another kernel; see `engine.generation.blocks.Block`."""
        return few_rows(self.qkv)

    def before_attention(
        self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, adapt: RowAdapters | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x, q, k and v; see `AttentionBlock.before_attention`."""
        h = rms_norm(x, self.norm, self.eps)
        qkv = self.qkv(h)
        widths = [heads * self.head_dim for heads in (self.heads, self.kv_heads, self.kv_heads)]
        parts = qkv.split(widths, dim=1)
        if adapt:
            for part, name in zip(parts, "qkv", strict=True):
                adapt(part, h, f"self_attn.{name}_proj")
        q, k, v = (part.unflatten(1, (-1, self.head_dim)) for part in parts)
        q = rotate(rms_norm(q, self.q_norm, self.eps), cos, sin)
        k = rotate(rms_norm(k, self.k_norm, self.eps), cos, sin)
        return x, q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)

    def after_attention(self, x: Tensor, saved: Tensor, attn_output: Tensor, adapt: RowAdapters | None) -> Tensor:
        """Return the layer's output; see `AttentionBlock.after_attention`."""
        y = self.out_proj(attn_output)
        if adapt:
            adapt(y, attn_output, "self_attn.out_proj")
        x = x + y
        return x + self.mlp(rms_norm(x, self.mlp_norm, self.eps), adapt)


def text_block(text: TextConfig, reader: ParameterReader, layer: int) -> Block:
    """Build a layer from its weights."""
    name = f"layers.{layer}"
    norm, mlp_norm = reader(f"{name}.operator_norm.weight"), reader(f"{name}.ffn_norm.weight")
    mlp = SwiGlu.read(reader, name, ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2"))
    full_name, eps = f"{reader.part}.{name}", text.norm_eps
    if text.layer_types[layer] == CONV:
        in_proj, out_proj = reader.linear(f"{name}.conv.in_proj"), reader.linear(f"{name}.conv.out_proj")
        kernel = reader(f"{name}.conv.conv.weight").flatten(1)
        return ConvBlock(full_name, norm, in_proj, kernel, out_proj, mlp_norm, mlp, eps)
    attention = f"{name}.self_attn"
    return GroupedAttentionBlock(
        full_name,
        norm,
        reader.fused_linear([f"{attention}.{part}_proj" for part in "qkv"]),
        reader(f"{attention}.q_layernorm.weight"),
        reader(f"{attention}.k_layernorm.weight"),
        reader.linear(f"{attention}.out_proj"),
        mlp_norm,
        mlp,
        eps,
        text.num_attention_heads,
        text.num_key_value_heads,
        text.head_dim,
    )
