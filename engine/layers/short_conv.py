"""Short convolutions of hybrid decoders such as LFM2: causal, depthwise, over the last few tokens."""

from array import array
from collections.abc import Sequence
from ctypes import byref, c_int32

import torch
from torch import Tensor

from engine.kernels.library import kernels
from engine.kernels.structures import DTYPES, ConvolutionStep, ConvolvedSequence, rows_of
from engine.layers.kv_cache import ConvCache

ConvSequences = Sequence[tuple[ConvCache, slice]]  # the cache of each, and its rows of the batch


def gated_convolution(gates: Tensor, taps: Tensor, sequences: ConvSequences) -> Tensor:
    """Compute after * convolution(before * inputs) (LFM2, Liquid AI 2025).

    Args:
        gates: (rows, 3 * channels) of all sequences, concatenated: before, after and inputs.
        taps: The kernel, (L, channels) contiguous; the last row multiplies the token itself.
        sequences: (cache, rows of the batch) of each.

    Returns:
        (rows, channels). A row does not depend on the batch.
    """
    library = kernels().library
    if library is None or gates.device.type != "cpu" or gates.dtype not in DTYPES:
        before, after, inputs = gates.chunk(3, dim=1)
        return after * short_convolution(before * inputs, taps.T, sequences)
    gates = gates.contiguous()
    output = gates.new_empty(len(gates), taps.shape[1])
    step, table = convolution_step(gates, taps, output), conv_table(sequences)
    set_sequences(step, table)
    library.mdtool_convolve(byref(step), c_int32(torch.get_num_threads()))
    return output


def short_convolution(inputs: Tensor, kernel: Tensor, sequences: ConvSequences) -> Tensor:
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


def convolution_step(gates: Tensor, taps: Tensor, output: Tensor) -> ConvolutionStep:
    """Describe a gated convolution for our kernels, without its sequences; all tensors must outlive the description."""
    return ConvolutionStep(
        gates=rows_of(gates), output=rows_of(output), kernel=taps.data_ptr(), taps=len(taps), channels=taps.shape[1]
    )


def conv_table(sequences: ConvSequences) -> "array[int]":
    """Return the caches as an array of ConvolvedSequence, with room for their next states."""
    table: list[int] = []
    for cache, rows in sequences:
        state = cache.inputs.data_ptr()
        table += (rows.start, rows.stop - rows.start, state, cache.next_inputs().data_ptr())
    return array("q", table)


def set_sequences(step: ConvolutionStep, table: "array[int]") -> None:
    """Let a step use the sequences of a `conv_table`, which must outlive its use."""
    step.sequences, numbers = table.buffer_info()
    step.count = numbers // len(ConvolvedSequence._fields_)
