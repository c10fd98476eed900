"""Elementwise functions that give a row the same result in any batch."""

from collections.abc import Callable

from torch import Tensor


def by_row(function: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Apply an elementwise function such as torch.tanh to x: (rows, columns).

    torch rounds the elements at the end of its memory, which fill no vector register, in another way. A result whose
    rows do not touch makes it start anew with each row, so that no row depends on how many there are.
    """
    return function(x, out=x.new_empty(x.shape[0], x.shape[1] + 1)[:, :-1])
