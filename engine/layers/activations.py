"""Activations: GELU in its tanh approximation (Hendrycks and Gimpel 2016), where no product computes it on the way."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 18  # numbers: what they take stays in the cache, and threads seldom wait for one another


def gelu_(x: Tensor) -> Tensor:
    """In place, by the sigmoid, which torch computes in a third of the time of tanh: 0.5 (1 + tanh u) is sigmoid 2u."""
    for rows in x.split(max(1, CHUNK_ELEMENTS // x.shape[1])):
        y = rows.float()
        inner = torch.addcmul(_LINEAR, y, y, value=_CUBIC).mul_(y)
        rows.copy_(inner.sigmoid_().mul_(y))
    return x


_LINEAR = torch.tensor(2 * math.sqrt(2 / math.pi))
_CUBIC = 0.044715 * 2 * math.sqrt(2 / math.pi)


def by_row(function: Callable[..., Tensor], x: Tensor) -> Tensor:
    """An elementwise function such as torch.tanh of x: (rows, columns).

    torch rounds the elements at the end of its memory, which fill no vector register, in another way. A result whose
    rows do not touch makes it start anew with each row, so that no row depends on how many there are.
    """
    return function(x, out=x.new_empty(x.shape[0], x.shape[1] + 1)[:, :-1])
