"""Vision transformer encoder (ViT, Dosovitskiy et al. 2021) with pre-norm blocks."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.layers.attention import full_attention
from engine.layers.linear import LinearLayer
from engine.layers.norms import Norm, layer_norm
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

    def before_attention(self, x: Tensor) -> Tensor:
        """Return queries, keys and values, (rows, 3 * dim), for x: (rows, dim)."""
        return self.qkv(layer_norm(x, self.norm1, self.eps))

    def after_attention(self, x: Tensor, attn_output: Tensor) -> Tensor:
        """Return the block's output (rows, dim) for its input x and the output of attention, both (rows, dim)."""
        x = x + self.proj(attn_output)
        h = layer_norm(x, self.norm2, self.eps)
        inner = self.fc1(h, gelu=True) if self.activation == "gelu_tanh" else F.gelu(self.fc1(h))
        return x + self.fc2(inner)


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
            qkv = self._before(block, x).view(x.shape[0], 3, self.heads, -1)
            if angles:
                rotated = (rotate(qkv[:, part], *angles) for part in (0, 1))
                qkv = torch.stack([*rotated, qkv[:, 2]], 1)
            q, k, v = qkv.unflatten(0, (n, -1)).permute(2, 0, 3, 1, 4).contiguous()
            x = self._after(block, x, full_attention(q, k, v))
            yield x
