"""A decoder layer as in Qwen3 and in LFM2: grouped-query attention with normalised queries and keys, then SwiGLU."""

from dataclasses import dataclass

from torch import Tensor

from engine.generation.blocks import AttentionBlock
from engine.generation.fused_decoder import FusedAttention, FusedLayer, FusedLinear, FusedNorm
from engine.kernels.structures import MULTIPLY_BY_SILU
from engine.layers.kernel_linear import KernelLinear
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import few_rows
from engine.layers.lora import RowAdapters
from engine.layers.norms import rms_norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotate
from engine.layers.swiglu import SwiGlu


@dataclass(frozen=True)
class Attention:
    """The projections of grouped-query attention (Ainslie et al. 2023).

    Attributes:
        q_norm: RMSNorm over the width of a head, before the rotation (Henry et al. 2020, QK-Norm).
        k_norm: As q_norm.
        names: Of q, k, v and o in a LoRA adapter.
    """

    q: LinearLayer
    k: LinearLayer
    v: LinearLayer
    o: LinearLayer
    q_norm: Tensor
    k_norm: Tensor
    names: tuple[str, str, str, str] = tuple(f"self_attn.{part}_proj" for part in "qkvo")  # type: ignore[assignment]

    @classmethod
    def read(
        cls,
        reader: ParameterReader,
        layer: str,
        names: tuple[str, str, str, str] = names,
        norms: tuple[str, str] = ("self_attn.q_norm", "self_attn.k_norm"),
    ) -> "Attention":
        """Read the parameters in the layer of this name in a checkpoint, which LoRA adapters name alike."""
        q, k, v, o = (reader.linear(f"{layer}.{name}") for name in names)
        q_norm, k_norm = (reader(f"{layer}.{name}.weight") for name in norms)
        return cls(q, k, v, o, q_norm, k_norm, names)


@dataclass(frozen=True)
class GroupedQueryBlock(AttentionBlock):
    """A pre-norm layer.

    Attributes:
        norm1: Weight of the RMSNorm before attention.
        norm2: Weight of the RMSNorm before the feed-forward layer.
        eps: Of all its norms.
    """

    name: str
    norm1: Tensor
    attention: Attention
    norm2: Tensor
    feed_forward: SwiGlu
    kv_heads: int
    head_dim: int
    eps: float

    @property
    def few_rows(self) -> int | None:
        """Rows from which a GEMM uses another kernel; see `engine.generation.blocks.Block`."""
        return min((rows for linear in self._linears if (rows := few_rows(linear))), default=None)

    @property
    def _linears(self) -> tuple[LinearLayer, ...]:
        attention, mlp = self.attention, self.feed_forward
        return attention.q, attention.k, attention.v, attention.o, mlp.gate, mlp.up, mlp.down

    def fused(self) -> FusedLayer | None:
        """Return the layer for our CPU kernels; see `AttentionBlock.fused`."""
        q, k, v, o, *_ = self._linears
        if not isinstance(q, KernelLinear):
            return None
        norm = FusedNorm(self.norm1, None, self.eps)
        queries, keys = q.weight.rows, self.kv_heads * self.head_dim
        before = [
            FusedLinear(q, "x", "qkv", norm=norm),
            FusedLinear(k, "x", "qkv", column=queries, norm=norm),
            FusedLinear(v, "x", "qkv", column=queries + keys, norm=norm),
        ]
        mixer = FusedAttention(
            queries // self.head_dim,
            self.kv_heads,
            self.head_dim,
            q_norm=self.attention.q_norm,
            k_norm=self.attention.k_norm,
            eps=self.eps,
        )
        after = [
            FusedLinear(o, "attention", "mid", residual="x"),
            *fused_swiglu(self.feed_forward, self.norm2, self.eps),
        ]
        return FusedLayer(before, mixer, after)

    def before_attention(
        self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, adapt: RowAdapters | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x, q, k and v; see `AttentionBlock.before_attention`."""
        attention, h = self.attention, rms_norm(x, self.norm1, self.eps)
        projected = [attention.q(h), attention.k(h), attention.v(h)]
        if adapt:
            for y, name in zip(projected, attention.names, strict=False):
                adapt(y, h, name)
        q, k, v = (y.unflatten(1, (-1, self.head_dim)) for y in projected)
        q = rotate(rms_norm(q, attention.q_norm, self.eps), cos, sin)
        k = rotate(rms_norm(k, attention.k_norm, self.eps), cos, sin)
        return x, q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)

    def after_attention(
        self, x: Tensor, saved: Tensor, attn_output: Tensor, adapt: RowAdapters | None = None
    ) -> Tensor:
        """Return the layer's output; see `AttentionBlock.after_attention`."""
        y = self.attention.o(attn_output)
        if adapt:
            adapt(y, attn_output, self.attention.names[3])
        x = x + y
        return x + self.feed_forward(rms_norm(x, self.norm2, self.eps), adapt)


def fused_swiglu(mlp: SwiGlu, norm: Tensor, eps: float) -> list[FusedLinear]:
    """Describe a feed-forward layer after an RMSNorm, from the buffer mid to y, for our CPU kernels."""
    normalized = FusedNorm(norm, None, eps)
    return [
        FusedLinear(mlp.gate, "mid", "gate", norm=normalized),
        FusedLinear(mlp.up, "mid", "inner", norm=normalized, activation=MULTIPLY_BY_SILU, gate="gate"),
        FusedLinear(mlp.down, "inner", "y", residual="mid"),
    ]
