"""The full contents of KV caches."""

import torch
from torch import Tensor

from engine.layers.kv_cache import KeyValueCache, PrefixCache, SequenceCache


def keys(cache: PrefixCache | SequenceCache) -> Tensor:
    """Return all keys, (attention layers, kv heads, positions, head dim): the shared, then the committed own ones."""
    return torch.stack(
        [
            torch.cat([*(one.keys for one in layer.shared), layer.keys[:, : layer.length]], 1)
            for layer in of_attention(cache)
        ]
    )


def values(cache: PrefixCache | SequenceCache) -> Tensor:
    """Return all values, shaped as `keys`."""
    return torch.stack(
        [
            torch.cat([*(one.values for one in layer.shared), layer.values[:, : layer.length]], 1)
            for layer in of_attention(cache)
        ]
    )


def of_attention(cache: PrefixCache | SequenceCache) -> list[KeyValueCache]:
    return [layer for layer in cache.layers if isinstance(layer, KeyValueCache)]
