"""Attention against its formula, written out head by head in float64."""

import random

import pytest
import torch
from torch import Tensor

from engine.layers.attention import FULL_ATTENTION_MIN_ROWS, CachedAttention, QuerySpan, full_attention
from engine.layers.kv_cache import KeyValueCache, KeyValues, PrefixCache, SequenceCache

# query heads, kv heads; the last has more query heads to one kv head than are computed at once
HEADS = [(1, 1), (2, 2), (5, 5), (16, 16), (8, 2), (6, 3), (4, 1), (14, 2)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.03, torch.float16: 0.004}


def attended(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """q: (heads, rows, dim); k, v: (kv heads, positions, dim); seen: (rows, positions). Returns (rows, heads * dim)."""
    group = q.shape[0] // k.shape[0]
    mixed = []
    for head, one in enumerate(q.double()):
        scores = one @ k[head // group].double().T / q.shape[2] ** 0.5
        weights = torch.where(seen, scores, -torch.inf).exp()
        mixed.append(weights / weights.sum(1, keepdim=True) @ v[head // group].double())
    return torch.cat(mixed, 1)


def key_and_value(
    kv_heads: int, positions: int, dim: int, dtype: torch.dtype, seeds: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    key, value = (drawn(kv_heads, positions, dim, dtype=dtype, seed=seed) for seed in seeds)
    return key, value


def prefix_of(*layers: tuple[Tensor, Tensor]) -> PrefixCache:
    """Of keys and values, (kv heads, positions, dim), for each layer."""
    length = layers[0][0].shape[1]
    return PrefixCache([KeyValueCache(k[:, :0], [KeyValues(k, v)]) for k, v in layers], length, length)


def started(prefix: PrefixCache | None, layers: int, kv_heads: int, dim: int, dtype: torch.dtype) -> SequenceCache:
    if prefix:
        return prefix.fork()
    return SequenceCache([KeyValueCache.new(kv_heads, dim, dtype, "cpu") for _ in range(layers)])


def grown(cache: SequenceCache, rows: int, seed: int) -> SequenceCache:
    """The same, of one layer, with so many rows more."""
    cache.reserve(rows)
    [layer] = cache.layers
    assert isinstance(layer, KeyValueCache)
    kv_heads, _, dim = layer.keys.shape
    layer.write(*(drawn(kv_heads, rows, dim, dtype=layer.keys.dtype, seed=seed + some) for some in (20, 40)))
    cache.advance(rows)
    return cache


def drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_every_row_sees_every_other(dtype: torch.dtype, heads: int, kv_heads: int) -> None:
    for n, rows, dim in ((1, 1, 64), (3, 10, 72), (2, 37, 64), (2, 5, 8)):
        check_attend_all(dtype, heads, kv_heads, n=n, rows=rows, dim=dim)


def check_attend_all(dtype: torch.dtype, heads: int, kv_heads: int, *, n: int, rows: int, dim: int) -> None:
    q = drawn(n, heads, rows, dim, dtype=dtype)
    k, v = (drawn(n, kv_heads, rows, dim, dtype=dtype, seed=seed) for seed in (1, 2))
    before = [x.clone() for x in (q, k, v)]
    mixed = full_attention(q, k, v)
    assert mixed.shape == (n * rows, heads * dim)
    assert mixed.dtype == dtype
    all_seen = torch.ones(rows, rows, dtype=torch.bool)
    wanted = torch.cat([attended(*one, all_seen) for one in zip(q, k, v, strict=True)])
    torch.testing.assert_close(mixed.double(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    causal = full_attention(q, k, v, causal=True)
    wanted = torch.cat([attended(*one, all_seen.tril()) for one in zip(q, k, v, strict=True)])
    torch.testing.assert_close(causal.double(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    alone = torch.cat([full_attention(q[i : i + 1], k[i : i + 1], v[i : i + 1]) for i in range(n)])
    assert torch.equal(mixed, alone)
    assert all(torch.equal(x, y) for x, y in zip((q, k, v), before, strict=True))


def test_large_scores_do_not_overflow() -> None:
    q, k = (drawn(1, 2, 9, 64, dtype=torch.float32, seed=seed) * 200 for seed in (0, 1))
    v = drawn(1, 2, 9, 64, dtype=torch.float32)
    best = torch.einsum("hqd,hkd->hqk", q[0], k[0]).argmax(-1)
    wanted = torch.stack([v[0, head][best[head]] for head in range(2)], 1).flatten(1)
    torch.testing.assert_close(full_attention(q, k, v), wanted)


def test_a_sequence_sees_its_prefix_and_what_came_before_it() -> None:
    """Sequences of drawn sizes, fed in pieces of drawn lengths, each piece against the formula over the whole.

    Some pieces are bidirectional, as pictures are, and some sequences are forked between two pieces.
    """
    chance = random.Random(7)
    layers = 2
    for case in range(60):
        heads, kv_heads = chance.choice(HEADS)
        dim, before = chance.choice([8, 64, 72]), chance.choice([0, 0, 1, 3, 90])
        dtype = chance.choice([*TOLERANCE])
        shared = [
            key_and_value(kv_heads, before, dim, dtype, seeds=(10 + layer, 20 + layer)) for layer in range(layers)
        ]
        cache = started(prefix_of(*shared) if before else None, layers, kv_heads, dim, dtype)
        pieces = [chance.choice([1, 1, 2, 7, 70]) for _ in range(4)]
        if case % 10 == 0:
            pieces[0] = FULL_ATTENTION_MIN_ROWS + 3
        length = sum(pieces)
        q = drawn(layers, heads, length, dim, dtype=dtype, seed=3)
        k, v = (drawn(layers, kv_heads, length, dim, dtype=dtype, seed=seed) for seed in (4, 5))
        seen = torch.ones(length, before + length, dtype=torch.bool).tril(before)
        first = 0
        for rows in pieces:
            some = slice(first, first + rows)
            causal = chance.random() < 0.7
            if not causal:
                seen[some, before + some.start : before + some.stop] = True
            if chance.random() < 0.3:
                cache = cache.fork()
            cache.reserve(rows, exact=chance.random() < 0.5)
            attention = CachedAttention([QuerySpan(cache, slice(0, rows), causal)])
            for layer in range(layers):
                mixed = attention(layer, q[layer, :, some], k[layer, :, some], v[layer, :, some])
                assert mixed.shape == (rows, heads * dim)
                assert mixed.dtype == dtype
                keys, values = (torch.cat(x, 1) for x in zip(shared[layer], (k[layer], v[layer]), strict=True))
                wanted = attended(q[layer, :, some], keys, values, seen[some])
                torch.testing.assert_close(
                    mixed.double(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype], msg=f"case {case}"
                )
            cache.advance(rows)
            first += rows


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_sequences_of_one_step_do_not_change_each_other(dtype: torch.dtype, heads: int, kv_heads: int) -> None:
    """Some go on from one prefix, some from another, some from none; to the last bit what each gets alone."""
    dim = 64
    shared, other = (prefix_of(key_and_value(kv_heads, length, dim, dtype, seeds=(1, 2))) for length in (90, 31))
    longer = grown(shared.fork(), 40, seed=50).freeze()  # of two pieces
    sequences = [(shared, 3, 1), (shared, 70, 1), (shared, 0, 5), (None, 4, 2), (None, 0, 1), (other, 5, 1)]
    caches: list[SequenceCache] = []
    rows, end = [], 0
    for prefix, before, count in [*sequences, (longer, 2, 1), (longer, 0, 4), (longer, 60, 1), (shared, 9, 1)]:
        cache = grown(started(prefix, 1, kv_heads, dim, dtype), before, seed=len(caches))
        cache.reserve(count)
        caches.append(cache)
        rows.append(slice(end, end + count))
        end += count
    q = drawn(heads, end, dim, dtype=dtype, seed=3)
    k, v = (drawn(kv_heads, end, dim, dtype=dtype, seed=seed) for seed in (4, 5))
    together = CachedAttention([QuerySpan(*one) for one in zip(caches, rows, strict=True)])(0, q, k, v)
    for cache, some in zip(caches, rows, strict=True):
        attention = CachedAttention([QuerySpan(cache, slice(0, some.stop - some.start))])
        assert torch.equal(together[some], attention(0, q[:, some], k[:, some], v[:, some]))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_texts_that_begin_in_one_step_do_not_change_each_other(dtype: torch.dtype) -> None:
    """Pictures, long texts and short ones, side by side."""
    counts = [
        (30, False),
        (30, False),
        (FULL_ATTENTION_MIN_ROWS, True),
        (31, False),
        (5, True),
        (FULL_ATTENTION_MIN_ROWS, True),
    ]
    end, rows = 0, []
    for count, _ in counts:
        rows.append(slice(end, end + count))
        end += count
    q, k, v = (drawn(heads, end, 64, dtype=dtype, seed=heads) for heads in (4, 2, 2))

    def reading(some: slice, causal: bool) -> QuerySpan:
        cache = started(None, 1, 2, 64, dtype)
        cache.reserve(some.stop - some.start)
        return QuerySpan(cache, some, causal)

    causal = [causal for _, causal in counts]
    together = CachedAttention([reading(*one) for one in zip(rows, causal, strict=True)])(0, q, k, v)
    for some, own in zip(rows, causal, strict=True):
        alone = CachedAttention([reading(slice(0, some.stop - some.start), own)])
        assert torch.equal(together[some], alone(0, q[:, some], k[:, some], v[:, some]))


def test_a_sequence_after_a_prefix_equals_one_that_holds_it() -> None:
    """The same positions, kept in the one or in the other: the last row's result is the same."""
    k, v = (drawn(2, 40, 64, dtype=torch.float64, seed=seed) for seed in (1, 2))
    q = drawn(4, 1, 64, dtype=torch.float64)
    results = []
    for before in (0, 1, 20, 39):
        prefix = prefix_of((k[:, :before], v[:, :before])) if before else None
        cache = started(prefix, 1, 2, 64, k.dtype)
        cache.reserve(40 - before)
        [layer] = cache.layers
        assert isinstance(layer, KeyValueCache)
        layer.write(k[:, before:39], v[:, before:39])
        cache.advance(39 - before)
        results.append(CachedAttention([QuerySpan(cache, slice(0, 1))])(0, q, k[:, 39:], v[:, 39:]))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-12, rtol=0)
