"""The text model: Phi-1.5 (Li et al. 2023), with attention and MLP in parallel on the same normalised input."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from engine.generation.blocks import AttentionBlock
from engine.generation.text_model import TextModel
from engine.generation.transformer import Transformer
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import few_rows
from engine.layers.lora import RowAdapters
from engine.layers.norms import Norm, layer_norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotary_table, rotate
from engine.moondream_gguf.config import TextConfig


@dataclass(frozen=True)
class PhiBlock(AttentionBlock):
    """A layer x + attention(h) + mlp(h), with h = norm(x)."""

    adaptable: ClassVar[bool] = False

    name: str
    norm: Norm
    qkv: LinearLayer
    proj: LinearLayer
    fc1: LinearLayer
    fc2: LinearLayer
    kv_heads: int
    head_dim: int
    eps: float

    @property
    def few_rows(self) -> int | None:
        """Rows from which a GEMM uses another kernel; see `engine.generation.blocks.Block`."""
        linears = (self.qkv, self.proj, self.fc1, self.fc2)
        return min((rows for linear in linears if (rows := few_rows(linear))), default=None)

    def before_attention(
        self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, adapt: RowAdapters | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the normalised input, q, k and v; see `AttentionBlock.before_attention`."""
        h = layer_norm(x, self.norm, self.eps)
        q, k, v = self.qkv(h).view(len(x), 3, self.kv_heads, self.head_dim).unbind(1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return h, q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)

    def after_attention(self, x: Tensor, h: Tensor, attn_output: Tensor, adapt: RowAdapters | None = None) -> Tensor:
        """Return the layer's output; see `AttentionBlock.after_attention`."""
        return x + self.proj(attn_output) + self.fc2(self.fc1(h, gelu=True))


@dataclass(frozen=True)
class PhiModel(TextModel):
    """A decoder with a final LayerNorm."""

    norm_bias: Tensor

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute logits (rows, vocabulary) from hidden states (rows, dim)."""
        return self.head(F.layer_norm(hidden, self.norm.shape, self.norm, self.norm_bias, self.eps))


def text_model(text: TextConfig, reader: ParameterReader) -> PhiModel:
    """Build the text model from its weights."""
    embeddings = reader.matrix("wte.weight")
    cos, sin = rotary_table(text.rotary_dim, text.rope_base, text.max_context, reader.device)
    blocks = [_block(text, reader, f"blocks.{layer}") for layer in range(text.n_layers)]
    norm, norm_bias = reader.norm("post_ln")
    return PhiModel(
        embeddings,
        Transformer(blocks, lambda positions: (cos[positions], sin[positions]), reader.dtype, reader.device),
        norm,
        reader.linear("lm_head"),
        text.eps,
        text.max_context,
        norm_bias,
    )


def _block(text: TextConfig, reader: ParameterReader, name: str) -> PhiBlock:
    qkv, proj = reader.linear(f"{name}.attn.qkv"), reader.linear(f"{name}.attn.proj")
    fc1, fc2 = reader.linear(f"{name}.mlp.fc1"), reader.linear(f"{name}.mlp.fc2")
    sizes = text.n_heads, text.head_dim
    return PhiBlock(f"{reader.part}.{name}", reader.norm(f"{name}.ln"), qkv, proj, fc1, fc2, *sizes, text.eps)
