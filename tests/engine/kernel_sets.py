"""The instruction sets of our CPU kernels that this CPU has, and comparisons of their results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from engine.kernels.library import PORTABLE, kernels

needs_kernels = pytest.mark.skipif(kernels().library is None, reason=kernels().summary)


def _select(name: str | None) -> str | None:
    library = kernels().library
    assert library is not None
    selected = library.mdtool_select_kernels(name and name.encode())
    return selected and str(selected.decode())


def available() -> list[str]:
    """All but `portable`, the best first."""
    if kernels().library is None:
        return []
    names = [name for name in ("avx512-bf16", "avx512-vnni", "avx2", "neon-dotprod") if _select(name)]
    _select(None)
    return names


@contextmanager
def using(name: str) -> Iterator[None]:
    """Run the kernels of this instruction set, then the best again."""
    assert _select(name) == name
    try:
        yield
    finally:
        _select(None)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether all numbers are equal, signs of zeros too; one NaN is as good as another."""
    numbers = [x.nan_to_num(nan=0, posinf=float("inf"), neginf=float("-inf")) for x in (a, b)]
    bits = [x.view(torch.int32 if x.dtype == torch.float32 else torch.int16) for x in numbers]
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(*bits)


def assert_same_in_all_sets(run: Callable[[], Tensor]) -> Tensor:
    """Return the result of the portable kernels, which must be that of all others."""
    with using(PORTABLE):
        wanted = run()
    for name in available():
        with using(name):
            assert same_bits(run(), wanted), name
    return wanted
