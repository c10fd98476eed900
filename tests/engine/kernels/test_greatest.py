"""The greatest number of a row by our CPU kernels, against torch's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_reference import random
from kernel_sets import available, needs_kernels, using
from torch import Tensor

from engine.kernels.greatest import can_find_greatest, find_greatest
from engine.kernels.library import PORTABLE

pytestmark = needs_kernels

DTYPES = (torch.float32, torch.bfloat16)
PIECE = 1024  # `kSearched`


def in_all_sets(x: Tensor) -> list[int]:
    assert can_find_greatest(x)
    found = []
    for name in (PORTABLE, *available()):
        with using(name):
            found.append(find_greatest(x))
    assert all(places == found[0] for places in found)
    return found[0]


@given(
    rows=st.integers(1, 5),
    columns=st.one_of(st.integers(1, 70), st.integers(PIECE - 2, 2 * PIECE + 20)),
    shift=st.sampled_from((0.0, -50.0, 1e30)),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_first_of_the_greatest(rows: int, columns: int, shift: float, dtype: torch.dtype, seed: int) -> None:
    x = (random(rows, columns + 3, seed=seed) + shift).to(dtype)[:, :columns]  # many are equal in bfloat16
    wanted = [row.index(max(row)) for row in x.tolist()]
    assert in_all_sets(x) == wanted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("at", [0, 15, 16, PIECE - 1, PIECE, 2 * PIECE + 5])
def test_any_place_is_found_and_a_broken_row_is_named(dtype: torch.dtype, at: int) -> None:
    x = torch.full((3, 2 * PIECE + 6), -1.0, dtype=dtype)
    x[1, at] = 0.5
    assert in_all_sets(x) == [0, at, 0]
    for broken in (float("nan"), float("inf"), float("-inf")):
        x[2, at] = broken
        assert in_all_sets(x) == [0, at, -1]
