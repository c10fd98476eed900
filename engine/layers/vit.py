"""Vision transformer encoder (ViT, Dosovitskiy et al. 2021) with pre-norm blocks."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoints.layer_shapes import VitBlockNames
from engine.layers.attention import full_attention
from engine.layers.fused_linear import linear_of_norm, plus_linear
from engine.layers.linear import LinearLayer
from engine.layers.norms import Norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotate
from engine.stepwise import Stepwise

Angles = tuple[Tensor, Tensor]  # cosines and sines of a rotary embedding, each (rows, head_dim / 2)


@dataclass(frozen=True)
class VitBlock:
    """The parameters of one pre-norm block.

    Attributes:
        qkv: Projects to concatenated queries, keys and values.
        activation: GELU in its tanh approximation, or exact.
        eps: Of the layer norms.
    """

    norm1: Norm
    qkv: LinearLayer
    proj: LinearLayer
    norm2: Norm
    fc1: LinearLayer
    fc2: LinearLayer
    activation: Literal["gelu_tanh", "gelu"] = "gelu_tanh"
    eps: float = 1e-5

    @classmethod
    def read(cls, reader: ParameterReader, block: str, names: VitBlockNames, eps: float = 1e-5) -> "VitBlock":
        """Read the parameters of the block of this name in a checkpoint."""
        qkv = [f"{block}.{name}" for name in names.qkv]
        return cls(
            reader.norm(f"{block}.{names.norm1}"),
            reader.fused_linear(qkv) if len(qkv) > 1 else reader.linear(qkv[0]),
            reader.linear(f"{block}.{names.proj}"),
            reader.norm(f"{block}.{names.norm2}"),
            reader.linear(f"{block}.{names.fc1}"),
            reader.linear(f"{block}.{names.fc2}"),
            eps=eps,
        )

    def before_attention(self, x: Tensor) -> Tensor:
        """Return queries, keys and values, (rows, 3 * dim), for x: (rows, dim)."""
        return linear_of_norm(self.qkv, x, self.norm1, self.eps)

    def after_attention(self, x: Tensor, attn_output: Tensor) -> Tensor:
        """Return the block's output (rows, dim) for its input x and the output of attention, both (rows, dim)."""
        x = plus_linear(x, self.proj, attn_output)
        inner = linear_of_norm(self.fc1, x, self.norm2, self.eps, gelu=self.activation == "gelu_tanh")
        return plus_linear(x, self.fc2, inner if self.activation == "gelu_tanh" else F.gelu(inner))


class Vit:
    """A stack of blocks with full attention within each image."""

    def __init__(self, blocks: Sequence[VitBlock], heads: int) -> None:
        self.blocks, self.heads = blocks, heads
        self._before, self._after = VitBlock.before_attention, VitBlock.after_attention

    def compile(self) -> None:
        """Compile everything but attention, to fuse the operations between GEMMs."""
        self._before = torch.compile(VitBlock.before_attention)
        self._after = torch.compile(VitBlock.after_attention)

    def __call__(self, x: Tensor, n: int) -> Tensor:
        """Apply all blocks, without a final norm, to x: (n * patches, dim) of n images; return the same shape."""
        return deque(self.layers(x, n), maxlen=1)[0]

    def in_steps(self, x: Tensor, n: int) -> Stepwise[Tensor]:
        """Apply all blocks as a call does, and yield after each."""
        for hidden in self.layers(x, n):
            x = hidden
            yield
        return x

    def layers(self, x: Tensor, n: int, angles: Angles | None = None) -> Iterator[Tensor]:
        """Yield the output of each block, (n * patches, dim).

        Args:
            x: (n * patches, dim) of n images.
            n: The number of images.
            angles: Of a rotary position embedding of queries and keys; None: the model has none.
        """
        for block in self.blocks:
            q, k, v = self._before(block, x).view(x.shape[0], 3, self.heads, -1).unbind(1)
            if angles:
                q, k = rotate(q, *angles), rotate(k, *angles)
            q, k, v = (part.unflatten(0, (n, -1)).transpose(1, 2) for part in (q, k, v))
            x = self._after(block, x, full_attention(q, k, v))
            yield x
