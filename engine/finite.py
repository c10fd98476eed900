"""Detects damaged weights: those that have NaN or infinity, or compute it."""

import torch
from torch import Tensor

from engine.contract import ModelUnavailable, NonFiniteOutput


def check_logits(logits: Tensor) -> None:
    """Check the logits that a model decodes from.

    NaN or infinity in a layer reaches them, so that no other activations need a check. Their argmax would be a wrong
    answer that looks like any other: the index of the first NaN, which may be the end of an empty list.

    Args:
        logits: Of any shape, before any are masked.

    Raises:
        NonFiniteOutput: One is NaN or infinite.
    """
    if not _all_finite(logits):
        raise NonFiniteOutput


def check_weights(name: str, weights: Tensor) -> None:
    """Check weights: infinity in a router or before a bounded function would not reach the logits.

    Args:
        name: Of the tensor.
        weights: Of any shape.

    Raises:
        ModelUnavailable: One is NaN or infinite.
    """
    if not _all_finite(weights):
        kind = str(weights.dtype).removeprefix("torch.")
        raise ModelUnavailable(
            f"the weights are damaged, or exceed the range of {kind}: {name} has NaN or infinity; get them again, or "
            "try --dtype float32"
        )


def _all_finite(numbers: Tensor) -> bool:
    # a sum is several times faster than a test of each element
    return bool(torch.isfinite(numbers.sum(dtype=torch.float32)))
