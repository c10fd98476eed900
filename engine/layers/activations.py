"""Activation functions that no kernel fuses: GELU in its tanh approximation (Hendrycks and Gimpel 2016), SwiGLU."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 18  # fits the CPU cache, and is enough work for each thread


def gelu_(x: Tensor) -> Tensor:
    """Apply GELU (tanh approximation) to x: (rows, columns), in place.

    It uses 0.5 (1 + tanh u) = sigmoid(2u), as torch computes sigmoid in a third of the time of tanh.
    """
    for rows in x.split(max(1, CHUNK_ELEMENTS // x.shape[1])):
        y = rows.float()
        inner = torch.addcmul(_LINEAR, y, y, value=_CUBIC).mul_(y)
        rows.copy_(inner.sigmoid_().mul_(y))
    return x


_LINEAR = torch.tensor(2 * math.sqrt(2 / math.pi))
_CUBIC = 0.044715 * 2 * math.sqrt(2 / math.pi)


def by_row(function: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Apply an elementwise function such as torch.tanh to x: (rows, columns), independently of the number of rows.

    torch rounds the last elements of a tensor, which do not fill a vector register, differently. Rows of the output
    that are not adjacent in memory make it process each row on its own.
    """
    return function(x, out=x.new_empty(x.shape[0], x.shape[1] + 1)[:, :-1])


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up (Shazeer 2020, GLU variants), all (rows, columns); a row does not depend on the others."""
    return by_row(torch.ops.aten.silu.out, gate) * up
