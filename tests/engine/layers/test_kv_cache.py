"""Cached keys and values: kept while they grow, and shared where they are the same."""

import random

import pytest
import torch

from engine.layers.kv_cache import GROWTH, Prefix, Tail

SHAPE = (3, 2, 8)  # layers, kv heads, head dim


def prefix(positions: int) -> Prefix:
    keys = torch.randn(SHAPE[0], SHAPE[1], positions, SHAPE[2])
    return Prefix(keys, -keys)


def grown(tail: Tail, pieces: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What was written, whole."""
    written = []
    for rows in pieces:
        keys, values = torch.randn(2, SHAPE[0], SHAPE[1], rows, SHAPE[2]).unbind()
        tail.reserve(rows)
        for layer in range(SHAPE[0]):
            tail.write(layer, keys[layer], values[layer])
        tail.length += rows
        written.append((keys, values))
    keys, values = zip(*written, strict=True)
    return torch.cat(keys, 2), torch.cat(values, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nothing_written_is_lost_by_growing(dtype: torch.dtype) -> None:
    chance = random.Random(1)
    for _ in range(30):
        pieces = [chance.choice([1, 1, 1, 2, 63, 64, 65, 200]) for _ in range(chance.randint(1, 12))]
        tail = Tail(SHAPE, None, dtype, "cpu")
        keys, values = grown(tail, pieces)
        assert tail.length == tail.position == sum(pieces)
        assert tail.keys.dtype == tail.values.dtype == dtype
        assert torch.equal(tail.keys[:, :, : tail.length], keys.to(dtype))
        assert torch.equal(tail.values[:, :, : tail.length], values.to(dtype))


def test_a_long_text_is_copied_seldom_and_kept_without_much_waste() -> None:
    tail = Tail(SHAPE, None, torch.float32, "cpu")
    places = set()
    for _ in range(4000):
        tail.reserve(1)
        places.add(tail.keys.shape[2])
        tail.length += 1
        assert tail.keys.shape[2] <= max(GROWTH, 1.5 * tail.length + GROWTH)
    assert len(places) < 15


def test_room_that_is_there_is_not_made_again() -> None:
    tail = Tail(SHAPE, None, torch.float32, "cpu")
    tail.reserve(10)
    place = tail.keys.data_ptr()
    tail.reserve(10)
    tail.length = 10
    tail.reserve(tail.keys.shape[2] - 10)
    assert tail.keys.data_ptr() == place


def test_a_written_again_position_holds_the_last() -> None:
    """As when a step ran out of memory and is taken once more: the length was not advanced."""
    tail = Tail(SHAPE, None, torch.float32, "cpu")
    tail.reserve(4)
    tail.write(0, torch.ones(SHAPE[1], 4, SHAPE[2]), torch.ones(SHAPE[1], 4, SHAPE[2]))
    keys, values = grown(tail, [4, 70])
    assert torch.equal(tail.keys[:, :, :74], keys)
    assert torch.equal(tail.values[:, :, :74], values)


def test_many_tails_share_one_prefix() -> None:
    shared = prefix(730)
    before, place = shared.keys.clone(), shared.keys.data_ptr()
    assert shared.length == 730
    tails = [Tail(SHAPE, shared, torch.float32, "cpu") for _ in range(20)]
    for count, tail in enumerate(tails, start=1):
        assert tail.position == 730
        grown(tail, [count])
        assert tail.position == 730 + count
        assert tail.prefix is shared
    assert shared.keys.data_ptr() == place
    assert torch.equal(shared.keys, before)
    assert (
        sum(tail.keys.nbytes + tail.values.nbytes for tail in tails)
        < 20 * (shared.keys.nbytes + shared.values.nbytes) / 10
    )
    assert len({tail.keys.data_ptr() for tail in tails}) == 20
