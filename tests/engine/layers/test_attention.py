"""Attention against its formula, written out head by head in float64."""

import random

import pytest
import torch
from torch import Tensor

from engine.layers.attention import attend_all, attend_tails, readings
from engine.layers.kv_cache import Prefix, Tail

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


def drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize(("n", "rows", "dim"), [(1, 1, 64), (3, 10, 72), (2, 37, 64), (2, 5, 8)])
def test_every_row_sees_every_other(dtype: torch.dtype, heads: int, kv_heads: int, n: int, rows: int, dim: int) -> None:
    q = drawn(n, heads, rows, dim, dtype=dtype)
    k, v = (drawn(n, kv_heads, rows, dim, dtype=dtype, seed=seed) for seed in (1, 2))
    before = [x.clone() for x in (q, k, v)]
    mixed = attend_all(q, k, v)
    assert mixed.shape == (n * rows, heads * dim)
    assert mixed.dtype == dtype
    all_seen = torch.ones(rows, rows, dtype=torch.bool)
    wanted = torch.cat([attended(*one, all_seen) for one in zip(q, k, v, strict=True)])
    torch.testing.assert_close(mixed.double(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    alone = torch.cat([attend_all(q[i : i + 1], k[i : i + 1], v[i : i + 1]) for i in range(n)])
    assert torch.equal(mixed, alone)
    assert all(torch.equal(x, y) for x, y in zip((q, k, v), before, strict=True))


def test_large_scores_do_not_overflow() -> None:
    q, k = (drawn(1, 2, 9, 64, dtype=torch.float32, seed=seed) * 200 for seed in (0, 1))
    v = drawn(1, 2, 9, 64, dtype=torch.float32)
    best = torch.einsum("hqd,hkd->hqk", q[0], k[0]).argmax(-1)
    wanted = torch.stack([v[0, head][best[head]] for head in range(2)], 1).flatten(1)
    torch.testing.assert_close(attend_all(q, k, v), wanted)


def test_a_tail_sees_its_prefix_and_what_came_before_it() -> None:
    """Sequences of drawn sizes, fed in pieces of drawn lengths, each piece against the formula over the whole."""
    chance = random.Random(7)
    layers = 2
    for case in range(40):
        heads, kv_heads = chance.choice(HEADS)
        dim, before = chance.choice([8, 64, 72]), chance.choice([0, 0, 1, 3, 90])
        dtype = chance.choice([*TOLERANCE])
        prefix = None
        if before:
            prefix = Prefix(*(drawn(layers, kv_heads, before, dim, dtype=dtype, seed=seed) for seed in (1, 2)))
        tail = Tail((layers, kv_heads, dim), prefix, dtype, "cpu")
        pieces = [chance.choice([1, 1, 2, 7, 70]) for _ in range(4)]
        length = sum(pieces)
        q = drawn(layers, heads, length, dim, dtype=dtype, seed=3)
        k, v = (drawn(layers, kv_heads, length, dim, dtype=dtype, seed=seed) for seed in (4, 5))
        seen = torch.ones(length, before + length, dtype=torch.bool).tril(before)
        for rows in pieces:
            some = slice(tail.length, tail.length + rows)
            tail.reserve(rows)
            for layer in range(layers):
                tail.write(layer, k[layer, :, some], v[layer, :, some])
                mixed = attend_tails(q[layer, :, some], readings([(tail, slice(0, rows))]), layer)
                assert mixed.shape == (rows, heads * dim)
                assert mixed.dtype == dtype
                keys, values = k[layer], v[layer]
                if prefix:
                    keys, values = (
                        torch.cat([prefix.keys[layer], keys], 1),
                        torch.cat([prefix.values[layer], values], 1),
                    )
                wanted = attended(q[layer, :, some], keys, values, seen[some])
                torch.testing.assert_close(
                    mixed.double(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype], msg=f"case {case}"
                )
            tail.length += rows


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_sequences_of_one_step_do_not_change_each_other(dtype: torch.dtype, heads: int, kv_heads: int) -> None:
    """Some go on from one prefix, some from another, some from none; to the last bit what each gets alone."""
    dim = 64
    shared, other = (
        Prefix(*(drawn(1, kv_heads, length, dim, dtype=dtype, seed=seed) for seed in (1, 2))) for length in (90, 31)
    )
    sequences = [(shared, 3, 1), (shared, 70, 1), (shared, 0, 5), (None, 4, 2), (None, 0, 1), (other, 5, 1)]
    tails, rows, end = [], [], 0
    for prefix, before, count in [*sequences, (shared, 9, 1)]:
        tail = Tail((1, kv_heads, dim), prefix, dtype, "cpu")
        tail.reserve(before + count)
        seed = len(tails)
        tail.write(0, *(drawn(kv_heads, before + count, dim, dtype=dtype, seed=seed + some) for some in (20, 40)))
        tail.length = before
        tails.append(tail)
        rows.append(slice(end, end + count))
        end += count
    q = drawn(heads, end, dim, dtype=dtype, seed=3)
    together = attend_tails(q, readings(zip(tails, rows, strict=True)), 0)
    for tail, some in zip(tails, rows, strict=True):
        alone = attend_tails(q[:, some], readings([(tail, slice(0, some.stop - some.start))]), 0)
        assert torch.equal(together[some], alone)


def test_a_tail_after_a_prefix_equals_one_that_holds_it() -> None:
    """The same positions, kept in the one or in the other: the last row's result is the same."""
    k, v = (drawn(1, 2, 40, 64, dtype=torch.float64, seed=seed) for seed in (1, 2))
    q = drawn(4, 1, 64, dtype=torch.float64)
    results = []
    for before in (0, 1, 20, 39):
        tail = Tail((1, 2, 64), Prefix(k[:, :, :before], v[:, :, :before]) if before else None, k.dtype, "cpu")
        tail.reserve(40 - before)
        tail.write(0, k[0, :, before:], v[0, :, before:])
        tail.length = 39 - before
        results.append(attend_tails(q, readings([(tail, slice(0, 1))]), 0))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-12, rtol=0)
