"""Attention of many rows and rotary embedding by our CPU kernels, against float64."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import random
from kernel_sets import assert_same_in_all_sets, available, needs_kernels, same_bits, using
from torch import Tensor

from engine.kernels.attention import attend_many_rows, rotate_rows
from engine.kernels.library import PORTABLE

pytestmark = needs_kernels

DTYPES = (torch.float32, torch.bfloat16)
BLOCK = 256  # positions, `kKeyBlock`
HEADS = ((1, 1), (2, 2), (4, 2), (6, 1))


@dataclass(frozen=True)
class Case:
    """Queries (heads, rows, dim), and keys and values (kv_heads, positions, dim) of the parts of a sequence."""

    q: Tensor
    keys: list[Tensor]
    values: list[Tensor]
    causal: bool

    def attend(self) -> Tensor:
        return attend_many_rows(self.q, self.keys, self.values, self.causal)

    def wanted(self) -> Tensor:
        """(rows, heads * dim), float64."""
        heads, rows, dim = self.q.shape
        group = heads // self.keys[0].shape[0]
        k, v = (torch.cat(x, 1).double().repeat_interleave(group, 0) for x in (self.keys, self.values))
        scores = self.q.double() @ k.transpose(1, 2) / dim**0.5
        if self.causal:
            future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(scores.shape[2] - rows + 1)
            scores.masked_fill_(future, -torch.inf)
        y: Tensor = (scores.softmax(2) @ v).transpose(0, 1).flatten(1)
        return y

    def check(self) -> Tensor:
        """Weights are rounded to the dtype, and so is the output: at most the sum of both."""
        y = assert_same_in_all_sets(self.attend)
        most = torch.cat(self.values, 1).abs().max().item()
        eps = torch.finfo(self.q.dtype).eps
        torch.testing.assert_close(y.double(), self.wanted(), rtol=eps, atol=max(eps / 2, 2e-6) * most)
        return y


def case(
    heads: tuple[int, int], dim: int, parts: list[int], rows: int, *, causal: bool, dtype: torch.dtype, seed: int = 0
) -> Case:
    """Parts of so many positions, and then the rows' own."""
    query_heads, kv_heads = heads
    q = random(query_heads, rows, dim, seed=seed, dtype=dtype) * 2
    keys = [random(kv_heads, n, dim, seed=seed + n + i, dtype=dtype) for i, n in enumerate([*parts, rows])]
    values = [random(kv_heads, n, dim, seed=seed + n - i, dtype=dtype) for i, n in enumerate([*parts, rows])]
    return Case(q, keys, values, causal)


@settings(max_examples=60, deadline=None)
@given(
    heads=st.sampled_from(HEADS),
    dim=st.sampled_from((2, 8, 18, 64, 72, 80, 128, 256)),
    parts=st.lists(st.integers(1, 90), max_size=3),
    rows=st.integers(1, 70),
    causal=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_float64_and_between_instruction_sets(
    heads: tuple[int, int], dim: int, parts: list[int], rows: int, causal: bool, dtype: torch.dtype, seed: int
) -> None:
    case(heads, dim, parts, rows, causal=causal, dtype=dtype, seed=seed).check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dim", [64, 72])
@pytest.mark.parametrize("positions", [BLOCK - 1, BLOCK, BLOCK + 1, 730])
def test_more_keys_than_a_block(dtype: torch.dtype, causal: bool, dim: int, positions: int) -> None:
    case((2, 1), dim, [], positions, causal=causal, dtype=dtype).check()
    case((2, 1), dim, [positions - 5], 20, causal=causal, dtype=dtype).check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_with_gaps_between_heads_and_rows(dtype: torch.dtype) -> None:
    """As they lie in the output of a linear layer for q, k and v, and in caches with room."""
    packed = case((3, 3), 24, [], 50, causal=True, dtype=dtype)
    qkv = torch.stack([packed.q, packed.keys[0], packed.values[0]]).permute(2, 0, 1, 3).contiguous()
    q, k, v = qkv.permute(1, 2, 0, 3)
    assert not q.is_contiguous()
    roomy = torch.cat([packed.values[0], torch.full((3, 9, 24), torch.nan, dtype=dtype)], 1)[:, :50]
    for values in (v, roomy):
        assert same_bits(attend_many_rows(q, [k], [values], True), packed.attend())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_later_ones(dtype: torch.dtype) -> None:
    whole = case((4, 2), 64, [], 300, causal=True, dtype=dtype)
    y = whole.attend()
    for rows in (1, 5, 47, 48, 257):
        part = Case(whole.q[:, :rows], [whole.keys[0][:, :rows]], [whole.values[0][:, :rows]], True)
        assert same_bits(part.attend(), y[:rows])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_those_before_it_but_by_their_keys(dtype: torch.dtype) -> None:
    """Nor on how the positions are divided into parts."""
    whole = case((4, 2), 64, [], 300, causal=True, dtype=dtype)
    y, cuts = whole.attend(), [3, 258, 39]
    keys, values = (list(x[0].split(cuts, 1)) for x in (whole.keys, whole.values))
    assert same_bits(Case(whole.q[:, 261:], keys, values, True).attend(), y[261:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_key_that_wins_by_far(dtype: torch.dtype) -> None:
    """Softmax must neither overflow nor lose the others' zeros, whichever block the key is in."""
    long = case((2, 2), 64, [], 600, causal=False, dtype=dtype)
    long.q.mul_(300)
    y = assert_same_in_all_sets(long.attend)
    scores = long.q.double() @ long.keys[0].double().transpose(1, 2)
    best = scores.argmax(2)
    clear = (scores.topk(2).values.diff().abs() > 60 * 64**0.5)[..., 0]
    assert clear.any()
    for head in range(2):
        chosen = long.values[0][head][best[head]]
        assert same_bits(y[clear[head], 64 * head : 64 * head + 64], chosen[clear[head]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_and_huge_numbers(dtype: torch.dtype) -> None:
    tiny = case((2, 2), 16, [], 40, causal=True, dtype=dtype)
    tiny.keys[0].mul_(1e-39)
    tiny.check()
    huge = case((2, 2), 16, [], 40, causal=False, dtype=dtype)
    huge.values[0].mul_(1e37)
    huge.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_query_spoils_its_row_and_no_other(dtype: torch.dtype, bad: float) -> None:
    whole = case((2, 1), 64, [], 300, causal=False, dtype=dtype)
    clean = whole.attend()
    whole.q[0, 100] = bad
    y = assert_same_in_all_sets(whole.attend)
    assert not y[100, :64].isfinite().any()
    others = torch.ones_like(y, dtype=torch.bool)
    others[100, :64] = False
    assert same_bits(y[others], clean[others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_key_or_value_spoils_all_rows_that_see_it(dtype: torch.dtype, bad: float) -> None:
    """And perhaps some rows just before, which are computed with them: zero times infinity is not a number."""
    for kind, name in product(("keys", "values"), (PORTABLE, *available())):
        whole = case((2, 1), 64, [40], 300, causal=True, dtype=dtype)
        clean = whole.attend()
        getattr(whole, kind)[1][0, 200] = bad
        if kind == "keys":
            whole.q[..., :2] = torch.tensor([1, -1])  # so that infinities cancel out
        with using(name):
            y = whole.attend()
        assert not y[200:].isfinite().any()
        if kind == "values":
            assert same_bits(y[:190], clean[:190])
        assert y[:190].isfinite().all()


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dim", "half"), [(8, 4), (64, 16), (72, 36), (128, 64), (80, 20), (256, 128), (10, 3)])
def test_rotation(dtype: torch.dtype, dim: int, half: int, interleaved: bool) -> None:
    """Each product and each sum is rounded, as in torch: the same to the last bit."""
    x = random(7, 3, dim, seed=dim, dtype=dtype)
    cos, sin = random(2, 7, half, seed=half)
    y = assert_same_in_all_sets(lambda: rotate_rows(x, cos, sin, interleaved))
    a, b = x[..., :half].float(), x[..., half : 2 * half].float()
    turned = a * cos[:, None] - b * sin[:, None], a * sin[:, None] + b * cos[:, None]
    pairs = torch.stack(turned, -1).flatten(2) if interleaved else torch.cat(turned, -1)
    assert same_bits(y, torch.cat([pairs.to(dtype), x[..., 2 * half :]], -1))
    strided = torch.stack([x, x], 1)[:, 1]
    assert same_bits(rotate_rows(strided, cos, sin, interleaved), y)
