"""Gated short convolutions by our CPU kernels: against float64 and torch, in pieces, in batches, from a state."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import random
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from torch import Tensor

from engine.kernels.library import Kernels
from engine.layers.kv_cache import ConvCache
from engine.layers.short_conv import gated_convolution

pytestmark = needs_kernels

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def started(states: Tensor) -> list[ConvCache]:
    return [ConvCache(state) for state in states]


def run(gates: Tensor, taps: Tensor, caches: list[ConvCache], counts: list[int]) -> Tensor:
    """Convolve consecutive rows of the sequences, as many as `counts` says, and commit them."""
    ends = torch.tensor(counts).cumsum(0).tolist()
    rows = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    output = gated_convolution(gates, taps, list(zip(caches, rows, strict=True)))
    for cache, count in zip(caches, counts, strict=True):
        cache.commit(count)
    return output


def wanted(gates: Tensor, taps: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The output of one sequence in float64, and its inputs from the state on, which are rounded."""
    before, after, inputs = gates.chunk(3, 1)
    window = torch.cat([state, before * inputs]).double()
    convolved = sum(window[k : k + len(gates)] * tap.double() for k, tap in enumerate(taps))
    return after.double() * convolved, window


@settings(max_examples=80, deadline=None)
@given(
    channels=st.integers(1, 70), length=st.integers(1, 5), counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_agrees_with_float64_and_between_instruction_sets(
    channels: int, length: int, counts: list[int], dtype: torch.dtype, seed: int
) -> None:
    gates, taps = random(sum(counts), 3 * channels, seed=seed, dtype=dtype), random(length, channels, seed=1).to(dtype)
    states = random(len(counts), length - 1, channels, seed=seed + 1, dtype=dtype)
    output = assert_same_in_all_sets(lambda: run(gates, taps, started(states), counts))
    caches = started(states)
    assert same_bits(run(gates, taps, caches, counts), output)
    for cache, state, own, made in zip(caches, states, gates.split(counts), output.split(counts), strict=True):
        exact, window = wanted(own, taps, state)
        torch.testing.assert_close(made.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-5)
        assert torch.equal(cache.inputs.double(), window[len(own) :])
        assert same_bits(run(own, taps, started(state[None]), [len(own)]), made)  # as if alone


@dtypes
@pytest.mark.parametrize("pieces", [[40], [1] * 40, [1, 1, 38], [2, 3, 35], [39, 1]])
def test_in_pieces_it_gives_the_bits_of_the_whole(dtype: torch.dtype, pieces: list[int]) -> None:
    gates, taps = random(40, 3 * 100, seed=1, dtype=dtype), random(3, 100, seed=2, dtype=dtype)
    whole, cache = started(torch.zeros(1, 2, 100, dtype=dtype)), started(torch.zeros(1, 2, 100, dtype=dtype))
    once = run(gates, taps, whole, [40])
    parts = [run(part, taps, cache, [len(part)]) for part in gates.split(pieces)]
    assert same_bits(torch.cat(parts), once)
    assert torch.equal(cache[0].inputs, whole[0].inputs)


def test_many_rows_on_several_threads_give_the_bits_of_torch_in_float32() -> None:
    counts = [300, 1, 130]
    gates, taps, states = random(431, 3 * 200, seed=1), random(3, 200, seed=2), random(3, 2, 200, seed=3)
    mine, theirs = started(states), started(states)
    output = run(gates, taps, mine, counts)
    with patch("engine.layers.short_conv.kernels", lambda: Kernels(None, "off")):
        assert torch.equal(run(gates, taps, theirs, counts), output)
    for cache, other in zip(mine, theirs, strict=True):
        assert torch.equal(cache.inputs, other.inputs)


@dtypes
def test_a_state_is_replaced_and_never_written_to(dtype: torch.dtype) -> None:
    state = random(2, 20, seed=1, dtype=dtype)
    [cache], kept = started(state[None]), state.clone()
    fork = cache.fork()
    gates, taps = random(3, 60, seed=2, dtype=dtype), random(3, 20, seed=3, dtype=dtype)
    first = run(gates, taps, [cache], [3])
    assert torch.equal(fork.inputs, kept)
    assert same_bits(run(gates, taps, [fork], [3]), first)


@dtypes
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_row_spoils_its_sequence_and_no_other(dtype: torch.dtype, bad: float) -> None:
    gates, taps = random(6, 60, seed=1, dtype=dtype), random(3, 20, seed=2, dtype=dtype)
    states = random(2, 2, 20, seed=3, dtype=dtype)
    clean = run(gates, taps, started(states), [3, 3])
    gates[1, 5] = bad
    made = assert_same_in_all_sets(lambda: run(gates, taps, started(states), [3, 3]))
    assert not made[1:3, 5].isfinite().any()
    assert same_bits(made[[0, 3, 4, 5]], clean[[0, 3, 4, 5]])
