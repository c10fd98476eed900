"""What layers keep of a text: kept while it grows, shared where it is the same, and never mixed up by a fork."""

import random

import pytest
import torch
from caches import keys as all_keys
from caches import of_attention
from caches import values as all_values
from torch import Tensor

from engine.layers.kv_cache import GROWTH, ConvCache, KeyValueCache, PrefixCache, SequenceCache
from engine.layers.short_conv import short_convolution

LAYERS, HEADS, DIM = 3, 2, 8


def new(prefix: PrefixCache | None = None, dtype: torch.dtype = torch.float32) -> SequenceCache:
    return (
        prefix.fork() if prefix else SequenceCache([KeyValueCache.new(HEADS, DIM, dtype, "cpu") for _ in range(LAYERS)])
    )


def grown(cache: SequenceCache, pieces: list[int]) -> tuple[Tensor, Tensor]:
    """What was written, whole."""
    written_keys, written_values = [], []
    for rows in pieces:
        keys, values = torch.randn(2, LAYERS, HEADS, rows, DIM).unbind()
        cache.reserve(rows)
        for layer, key, value in zip(of_attention(cache), keys, values, strict=True):
            layer.write(key, value)
        cache.advance(rows)
        written_keys.append(keys)
        written_values.append(values)
    return torch.cat(written_keys, 2), torch.cat(written_values, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nothing_written_is_lost_by_growing(dtype: torch.dtype) -> None:
    chance = random.Random(1)
    for _ in range(30):
        pieces = [chance.choice([1, 1, 1, 2, 63, 64, 65, 200]) for _ in range(chance.randint(1, 12))]
        cache = new(dtype=dtype)
        keys, values = grown(cache, pieces)
        assert cache.length == cache.next_position == sum(pieces)
        assert {layer.keys.dtype for layer in of_attention(cache)} == {dtype}
        assert {layer.values.dtype for layer in of_attention(cache)} == {dtype}
        assert torch.equal(all_keys(cache), keys.to(dtype))
        assert torch.equal(all_values(cache), values.to(dtype))


def test_a_long_text_is_copied_seldom_and_kept_without_much_waste() -> None:
    cache = KeyValueCache.new(HEADS, DIM, torch.float32, "cpu")
    places = set()
    for _ in range(4000):
        cache.reserve(1)
        places.add(cache.keys.shape[1])
        cache.commit(1)
        assert cache.keys.shape[1] <= max(GROWTH, 1.5 * cache.length + GROWTH)
    assert len(places) < 15


def test_room_that_is_there_is_not_made_again() -> None:
    cache = KeyValueCache.new(HEADS, DIM, torch.float32, "cpu")
    cache.reserve(10)
    place = cache.keys.data_ptr()
    cache.reserve(10)
    cache.commit(10)
    cache.reserve(cache.keys.shape[1] - 10)
    assert cache.keys.data_ptr() == place


def test_room_for_so_many_and_no_others() -> None:
    cache = KeyValueCache.new(HEADS, DIM, torch.float32, "cpu")
    for rows, room in ((5, 5), (70, 75)):
        cache.reserve(rows, exact=True)
        cache.commit(rows)
        assert cache.keys.shape[1] == cache.values.shape[1] == room


def test_a_written_again_position_holds_the_last() -> None:
    """As when a step ran out of memory and is taken once more: nothing was committed."""
    cache = new()
    cache.reserve(4)
    of_attention(cache)[0].write(torch.ones(HEADS, 4, DIM), torch.ones(HEADS, 4, DIM))
    keys, values = grown(cache, [4, 70])
    assert torch.equal(all_keys(cache), keys)
    assert torch.equal(all_values(cache), values)


def test_many_sequences_share_one_prefix() -> None:
    start = new()
    before, _ = grown(start, [730])
    shared = start.freeze()
    places = [layer.shared[0].keys.data_ptr() for layer in of_attention(shared)]
    assert shared.length == 730
    caches = [new(shared) for _ in range(20)]
    for count, cache in enumerate(caches, start=1):
        assert cache.next_position == 730
        keys, _ = grown(cache, [count])
        assert cache.next_position == cache.length == 730 + count
        assert cache.prefix is shared
        assert [layer.shared[0].keys.data_ptr() for layer in of_attention(cache)] == places
        assert torch.equal(all_keys(cache), torch.cat([before, keys], 2))
    assert torch.equal(all_keys(shared), before)
    own = [layer for cache in caches for layer in of_attention(cache)]
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in own) < 2 * before.nbytes * 20 / 10
    assert len({layer.keys.data_ptr() for layer in own}) == 20 * LAYERS


def test_a_fork_shares_what_was_written_and_sees_nothing_of_what_comes_after() -> None:
    """Forks of forks, each of which goes on, and so does what they were forked from."""
    first = new()
    trunk, _ = grown(first, [5])
    second = first.fork()
    places = {layer.shared[-1].keys.data_ptr() for layer in of_attention(second)}
    assert places == {layer.keys.data_ptr() for layer in of_attention(first)}
    by_first, _ = grown(first, [3, 80])
    by_second, _ = grown(second, [2])
    third = second.fork()
    by_second_after, _ = grown(second, [1])
    by_third, _ = grown(third, [70])
    for cache, wanted in (
        (first, [trunk, by_first]),
        (second, [trunk, by_second, by_second_after]),
        (third, [trunk, by_second, by_third]),
    ):
        assert torch.equal(all_keys(cache), torch.cat(wanted, 2))
        assert cache.length == cache.next_position == sum(part.shape[2] for part in wanted)


def test_the_next_position_is_kept_apart_from_the_number_of_tokens() -> None:
    cache = new()
    grown(cache, [4])
    cache.reserve(60)
    cache.advance(60, next_position=4 + 10)  # 6 x 10 patches
    assert (cache.length, cache.next_position) == (64, 14)
    fork = cache.fork()
    assert (fork.length, fork.next_position) == (64, 14)
    grown(fork, [3])
    assert (fork.length, fork.next_position) == (67, 17)
    assert (cache.length, cache.next_position) == (64, 14)


CHANNELS, KERNEL = 6, 3


def convolved(inputs: Tensor, kernel: Tensor) -> Tensor:
    """Of a whole text, written out in float64."""
    before = torch.zeros(kernel.shape[1] - 1, inputs.shape[1], dtype=torch.float64)
    padded = torch.cat([before, inputs.double()])
    return torch.stack([(padded[t : t + kernel.shape[1]].T * kernel.double()).sum(1) for t in range(len(inputs))])


def drawn(rows: int) -> Tensor:
    return torch.randn(rows, CHANNELS, generator=torch.Generator().manual_seed(rows))


def step(cache: ConvCache, inputs: Tensor, kernel: Tensor) -> Tensor:
    mixed = short_convolution(inputs, kernel, [(cache, slice(0, len(inputs)))])
    cache.commit(len(inputs))
    return mixed


@pytest.mark.parametrize("pieces", [[9], [1] * 9, [1, 1, 7], [2, 3, 4], [8, 1]])
def test_a_convolution_in_pieces_is_that_of_the_whole(pieces: list[int]) -> None:
    kernel, inputs = torch.randn(CHANNELS, KERNEL), drawn(9)
    cache = ConvCache.new(CHANNELS, KERNEL, torch.float32, "cpu")
    mixed = torch.cat([step(cache, piece, kernel) for piece in inputs.split(pieces)])
    torch.testing.assert_close(mixed.double(), convolved(inputs, kernel), atol=1e-6, rtol=1e-6)
    assert torch.equal(cache.inputs, inputs[-2:])
    assert torch.equal(mixed, step(ConvCache.new(CHANNELS, KERNEL, torch.float32, "cpu"), inputs, kernel))


def test_a_forked_convolution_goes_two_ways_and_back() -> None:
    kernel, inputs, others = torch.randn(CHANNELS, KERNEL), drawn(8), drawn(5)
    cache = ConvCache.new(CHANNELS, KERNEL, torch.float32, "cpu")
    step(cache, inputs[:3], kernel)
    kept = cache.fork()
    straight = step(cache, inputs[3:], kernel)
    other = step(kept.fork(), others, kernel)
    rewound = step(kept, inputs[3:], kernel)
    assert torch.equal(rewound, straight)
    wanted = convolved(torch.cat([inputs[:3], others]), kernel)[3:]
    torch.testing.assert_close(other.double(), wanted, atol=1e-6, rtol=1e-6)


def test_a_step_of_a_convolution_that_failed_is_taken_again() -> None:
    kernel, inputs = torch.randn(CHANNELS, KERNEL), drawn(6)
    cache = ConvCache.new(CHANNELS, KERNEL, torch.float32, "cpu")
    step(cache, inputs[:4], kernel)
    short_convolution(drawn(7), kernel, [(cache, slice(0, 7))])  # was not committed
    wanted = convolved(inputs, kernel)[4:]
    torch.testing.assert_close(step(cache, inputs[4:], kernel).double(), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_of_one_step_do_not_change_each_other(dtype: torch.dtype) -> None:
    kernel = torch.randn(CHANNELS, KERNEL).to(dtype)
    caches = [ConvCache.new(CHANNELS, KERNEL, dtype, "cpu") for _ in range(3)]
    for count, cache in enumerate(caches):
        step(cache, drawn(count + 1).to(dtype), kernel)
    inputs, rows = drawn(10).to(dtype), [slice(0, 1), slice(1, 8), slice(8, 10)]
    together = short_convolution(
        inputs, kernel, [(cache.fork(), some) for cache, some in zip(caches, rows, strict=True)]
    )
    for cache, some in zip(caches, rows, strict=True):
        assert torch.equal(together[some], step(cache, inputs[some], kernel))


@pytest.mark.parametrize("length", [1, 5, 8, 9, 20, 24])
def test_a_prefix_goes_back_to_any_of_its_tokens(length: int) -> None:
    first = new()
    keys, values = grown(first, [8])
    second = first.freeze().fork()
    more_keys, more_values = grown(second, [12, 5])
    keys, values = torch.cat([keys, more_keys], 2)[:, :, :length], torch.cat([values, more_values], 2)[:, :, :length]
    cut = second.freeze().truncated(length, length + 3)
    assert cut is not None
    assert (cut.length, cut.next_position) == (length, length + 3)
    continued = cut.fork()
    own_keys, own_values = grown(continued, [4])
    assert torch.equal(all_keys(continued), torch.cat([keys, own_keys], 2))
    assert torch.equal(all_values(continued), torch.cat([values, own_values], 2))


def test_a_state_that_is_gone_can_not_be_gone_back_to() -> None:
    cache = SequenceCache(
        [KeyValueCache.new(HEADS, DIM, torch.float32, "cpu"), ConvCache.new(4, 3, torch.float32, "cpu")]
    )
    prefix = PrefixCache([layer.fork() for layer in cache.layers], 5, 5)
    assert prefix.truncated(5, 5) is prefix
    assert prefix.truncated(4, 4) is None
