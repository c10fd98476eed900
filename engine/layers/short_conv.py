"""The short convolution in place of attention: causal, over the last few tokens, each channel by itself (LFM2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.layers.kv_cache import ConvCache


def short_convolution(inputs: Tensor, kernel: Tensor, sequences: Sequence[tuple[ConvCache, slice]]) -> Tensor:
    """Convolve each sequence's rows, behind those that its cache keeps.

    Args:
        inputs: (rows, channels) of all sequences, one after the other.
        kernel: (channels, L); the last column is for the token itself.
        sequences: the caches, with the rows that come next in each.

    Returns:
        (rows, channels). A row does not depend on what else is in the batch.
    """
    mixed = torch.empty_like(inputs)
    taps = kernel.T
    for cache, rows in sequences:
        window = cache.window(inputs[rows])
        count = rows.stop - rows.start
        mixed[rows] = sum(window[k : k + count] * tap for k, tap in enumerate(taps))
    return mixed
