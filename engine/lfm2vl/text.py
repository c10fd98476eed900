"""The LFM2 text model (Liquid AI 2025): layers with a gated short convolution, some with grouped-query attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.generation.blocks import Block, StatefulBlock
from engine.generation.decoder_block import Attention, GroupedQueryBlock, fused_swiglu
from engine.generation.fused_decoder import FusedConvolution, FusedLayer, FusedLinear, FusedNorm
from engine.generation.text_model import TextModel
from engine.generation.transformer import Transformer
from engine.layers.kv_cache import ConvCache
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import few_rows
from engine.layers.lora import RowAdapters, adapted
from engine.layers.norms import rms_norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotary_table
from engine.layers.short_conv import gated_convolution
from engine.layers.swiglu import SwiGlu
from engine.lfm2vl.config import CONV, TextConfig
from engine.lfm2vl.weights import FEED_FORWARD, HEAD_NORMS, PROJECTIONS


@dataclass(frozen=True)
class ConvBlock(StatefulBlock):
    """A layer with a gated short convolution, y = out_proj(C * conv(B * X)), with B, C and X from in_proj.

    Attributes:
        norm1: Weight of the RMSNorm before the convolution.
        taps: The kernel, (L, dim); the last row multiplies the token itself.
        norm2: Weight of the RMSNorm before the feed-forward layer.
        eps: Of both norms.
    """

    name: str
    norm1: Tensor
    in_proj: LinearLayer
    taps: Tensor
    out_proj: LinearLayer
    norm2: Tensor
    feed_forward: SwiGlu
    eps: float

    @property
    def few_rows(self) -> int | None:
        """Rows from which the GEMMs use another kernel; see `engine.generation.blocks.Block`."""
        return few_rows(self.in_proj)

    def new_cache(self, dtype: torch.dtype, device: str) -> ConvCache:
        """Return the state at the start of a sequence; see `StatefulBlock.new_cache`."""
        kernel, channels = self.taps.shape
        return ConvCache.new(channels, kernel, dtype, device)

    def fused(self) -> FusedLayer:
        """Return the layer for our CPU kernels; see `engine.generation.blocks.Block`."""
        before = [FusedLinear(self.in_proj, "x", "gates", norm=FusedNorm(self.norm1, None, self.eps))]
        out = FusedLinear(self.out_proj, "convolved", "mid", residual="x")
        after = [out, *fused_swiglu(self.feed_forward, self.norm2, self.eps)]
        return FusedLayer(before, FusedConvolution(self.taps), after)

    def advance(self, x: Tensor, sequences: Sequence[tuple[Any, slice]], adapt: RowAdapters | None) -> Tensor:
        """Compute the layer's output; see `StatefulBlock.advance`."""
        h = rms_norm(x, self.norm1, self.eps)
        projected = adapted(self.in_proj, h, adapt, "conv.in_proj")
        x = x + adapted(self.out_proj, gated_convolution(projected, self.taps, sequences), adapt, "conv.out_proj")
        return x + self.feed_forward(rms_norm(x, self.norm2, self.eps), adapt)


def text_model(text: TextConfig, reader: ParameterReader) -> TextModel:
    """Build the text model from its weights."""
    context = text.max_position_embeddings
    cos, sin = rotary_table(text.head_dim, text.rope_theta, context, reader.device)
    blocks = [_block(text, reader, layer) for layer in range(text.num_hidden_layers)]
    transformer = Transformer(blocks, lambda at: (cos[at], sin[at]), reader.dtype, reader.device)
    return TextModel.read(reader, transformer, "embedding_norm", eps=text.norm_eps, max_context=context)


def _block(text: TextConfig, reader: ParameterReader, layer: int) -> Block:
    name, eps = f"layers.{layer}", text.norm_eps
    norm1, norm2 = reader(f"{name}.operator_norm.weight"), reader(f"{name}.ffn_norm.weight")
    feed_forward = SwiGlu.read(reader, name, FEED_FORWARD)
    full_name = f"{reader.part}.{name}"
    if text.kinds[layer] == CONV:
        in_proj, out_proj = reader.linear(f"{name}.conv.in_proj"), reader.linear(f"{name}.conv.out_proj")
        taps = reader(f"{name}.conv.conv.weight").flatten(1).T.contiguous()
        return ConvBlock(full_name, norm1, in_proj, taps, out_proj, norm2, feed_forward, eps)
    attention = Attention.read(reader, name, PROJECTIONS, HEAD_NORMS)
    heads = text.num_key_value_heads, text.head_dim
    return GroupedQueryBlock(full_name, norm1, attention, norm2, feed_forward, *heads, eps)
