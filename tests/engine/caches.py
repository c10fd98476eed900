"""What caches hold, whole."""

import torch
from torch import Tensor

from engine.layers.kv_cache import KeyValueCache, PrefixCache, SequenceCache


def keys(cache: PrefixCache | SequenceCache) -> Tensor:
    """(layers of attention, kv heads, positions, head dim): those shared, and its own that are committed."""
    return torch.stack(
        [
            torch.cat([*(one.keys for one in layer.shared), layer.keys[:, : layer.length]], 1)
            for layer in of_attention(cache)
        ]
    )


def values(cache: PrefixCache | SequenceCache) -> Tensor:
    """As `keys`."""
    return torch.stack(
        [
            torch.cat([*(one.values for one in layer.shared), layer.values[:, : layer.length]], 1)
            for layer in of_attention(cache)
        ]
    )


def of_attention(cache: PrefixCache | SequenceCache) -> list[KeyValueCache]:
    return [layer for layer in cache.layers if isinstance(layer, KeyValueCache)]
