"""A vision transformer on the CPU in one call of our kernels, where its layers are small: bfloat16, of few patches.

Its blocks are decoder layers without positions, in which all rows of an image attend to one another.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.generation.fused_decoder import FusedAttention, FusedDecoder, FusedLayer, FusedLinear, FusedNorm, can_fuse
from engine.generation.transformer import FUSED_ROWS
from engine.kernels.structures import BFLOAT16_PAIRS, GELU
from engine.layers.attention import QuerySpan
from engine.layers.kernel_linear import KernelLinear
from engine.layers.kv_cache import KeyValueCache, SequenceCache
from engine.layers.vit import Vit, VitBlock


class FusedVit:
    """Runs all blocks of a `Vit`; a row of an image depends on no other image."""

    def __init__(self, layers: Sequence[FusedLayer], dtype: torch.dtype) -> None:
        """Take layers that `can_fuse`."""
        self._layers, self._dtype = layers, dtype
        self._decoder = FusedDecoder(layers, dtype)

    def __call__(self, x: Tensor, n: int) -> Tensor:
        """Apply all blocks to x: (n * patches, dim) of n images; return the same shape."""
        patches = len(x) // n
        spans = [QuerySpan(self._cache(patches), slice(i * patches, (i + 1) * patches), causal=False) for i in range(n)]
        no_angles = torch.empty(len(x), 0)
        return self._decoder(x, no_angles, no_angles, spans)

    def _cache(self, patches: int) -> SequenceCache:
        """Return room for the keys and values of an image, which one layer after the other uses."""
        mixer = self._layers[0].mixer
        assert isinstance(mixer, FusedAttention)
        cache = KeyValueCache.new(mixer.kv_heads, mixer.head_dim, self._dtype, "cpu")
        cache.reserve(patches, exact=True)
        return SequenceCache([cache] * len(self._layers))


def fused_vit(vit: Vit, patches: int, dtype: torch.dtype, device: str) -> FusedVit | None:
    """Return the blocks of a `Vit` for our CPU kernels; None if they can't compute them, or gain nothing."""
    if device != "cpu" or patches >= FUSED_ROWS:
        return None
    linears = [linear for block in vit.blocks for linear in (block.qkv, block.proj, block.fc1, block.fc2)]
    small = all(isinstance(linear, KernelLinear) and linear.weight.format == BFLOAT16_PAIRS for linear in linears)
    layers = [_fused_layer(block, vit.heads) for block in vit.blocks]
    known = small and all(block.activation == "gelu_tanh" for block in vit.blocks)
    return FusedVit(layers, dtype) if known and all(can_fuse(layer, dtype) for layer in layers) else None


def _fused_layer(block: VitBlock, heads: int) -> FusedLayer:
    norm1, norm2 = (FusedNorm(*norm, eps=block.eps) for norm in (block.norm1, block.norm2))
    before = [FusedLinear(block.qkv, "x", "qkv", norm=norm1)]
    after = [
        FusedLinear(block.proj, "attention", "mid", residual="x"),
        FusedLinear(block.fc1, "mid", "inner", norm=norm2, activation=GELU),
        FusedLinear(block.fc2, "inner", "y", residual="mid"),
    ]
    return FusedLayer(before, FusedAttention(heads, heads, len(block.norm1[0]) // heads), after)
