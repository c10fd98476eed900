"""Short convolutions of hybrid decoders such as LFM2: causal, depthwise, over the last few tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.layers.kv_cache import ConvCache


def short_convolution(inputs: Tensor, kernel: Tensor, sequences: Sequence[tuple[ConvCache, slice]]) -> Tensor:
    """Convolve each sequence's rows, continuing from its cache.

    Args:
        inputs: (rows, channels) of all sequences, concatenated.
        kernel: (channels, L); the last column multiplies the token itself.
        sequences: (cache, rows of the batch) of each.

    Returns:
        (rows, channels). A row does not depend on the batch.
    """
    outputs = torch.empty_like(inputs)
    taps = kernel.T
    for cache, rows in sequences:
        window = cache.window(inputs[rows])
        count = rows.stop - rows.start
        outputs[rows] = sum(window[k : k + count] * tap for k, tap in enumerate(taps))
    return outputs
