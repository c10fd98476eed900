"""Softmax(q k^T / sqrt(d)) v, in the form that is fastest where it runs.

On a CPU torch's fused attention is far from the limit of the machine; plain products over a few heads at a time, whose
scores stay in the cache, take a third of its time. A sequence's result does not depend on the batch there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.layers.kv_cache import Tail

HEADS_AT_ONCE = 4  # scores of 4 x 730 x 730 in 16 bits are 4 MB


def attend_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every row sees every other. q: (n, heads, rows, dim); k, v: (n, kv heads, rows, dim), all contiguous.

    Returns (n * rows, heads * dim). Consecutive query heads share a kv head where there are fewer of those.
    """
    n, heads, rows, dim = q.shape
    if q.device.type == "cpu":
        mixed = torch.stack([_attend_by_heads(*one) for one in zip(q, k, v, strict=True)])
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=heads > k.shape[1])
    return mixed.transpose(1, 2).reshape(n * rows, heads * dim)


def _attend_by_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    heads, rows, dim = q.shape
    groups = heads // k.shape[0]
    step = max(1, HEADS_AT_ONCE // groups)
    out = torch.empty_like(q)
    q, grouped = (x.view(k.shape[0], groups * rows, dim) for x in (q, out))
    scores = q.new_empty(step, groups * rows, rows)
    for first in range(0, k.shape[0], step):
        some = slice(first, first + step)
        part = scores[: k[some].shape[0]]
        torch.baddbmm(part, q[some], k[some].transpose(1, 2), beta=0, alpha=dim**-0.5, out=part)
        torch.softmax(part, -1, out=part)
        torch.bmm(part, v[some], out=grouped[some])
    return out


@dataclass(frozen=True)
class Reading:
    """`rows` of a batch, which are written into a tail behind its `length`, over its prefix and, causally, the tail."""

    tail: Tail
    rows: slice
    unseen: Tensor  # (rows, the tail's room): 0, or -inf for what a row must not see


def readings(of: Iterable[tuple[Tail, slice]]) -> list[list[Reading]]:
    """Of tails that have room for their rows, one behind the other; those that read one prefix together in one list.

    Alone where that would change their rounding.
    """
    made = []
    for tail, rows in of:
        shape = (rows.stop - rows.start, tail.keys.shape[2])
        unseen = torch.full(shape, float("-inf"), dtype=tail.keys.dtype, device=tail.keys.device)
        made.append(Reading(tail, rows, unseen.triu_(tail.length + 1)))

    def prefix(one: Reading) -> int:
        alone = one.tail.keys.device.type == "cpu" and one.tail.keys.dtype != torch.bfloat16
        return id(one if alone or one.tail.prefix is None else one.tail.prefix)

    return [list(some) for _, some in groupby(made, prefix)]


def attend_tails(q: Tensor, by_prefix: Sequence[Sequence[Reading]], layer: int) -> Tensor:
    """q: (heads, rows, dim). by_prefix: the `readings` of all those rows. -> (rows, heads * dim).

    All of a tail's room is read, not what is written of it: shapes that change with each token would have oneDNN make
    new kernels for each.
    """
    q = q * q.shape[2] ** -0.5
    mixed = [_attend_prefix(q[:, some[0].rows.start : some[-1].rows.stop], some, layer) for some in by_prefix]
    return (mixed[0] if len(mixed) == 1 else torch.cat(mixed, 1)).transpose(0, 1).flatten(1)


def _attend_prefix(q: Tensor, together: Sequence[Reading], layer: int) -> Tensor:
    """Readings after one prefix. q: scaled, (heads, rows, dim); returns the same shape."""
    prefix, kv_heads = together[0].tail.prefix, together[0].tail.keys.shape[1]
    grouped = q.unflatten(0, (kv_heads, -1))
    if prefix:
        scores = (grouped.flatten(1, 2) @ prefix.keys[layer].transpose(1, 2)).unflatten(1, grouped.shape[1:3])
    else:
        scores = grouped[..., :0]
    parts, start = [], together[0].rows.start
    for one in together:
        some = slice(one.rows.start - start, one.rows.stop - start)
        parts.append(_attend_own(grouped[:, :, some], scores[:, :, some], one, layer))
    mixed, weights = parts[0] if len(parts) == 1 else (torch.cat(x, 2) for x in zip(*parts, strict=True))
    if prefix:
        mixed += (weights.flatten(1, 2) @ prefix.values[layer]).view_as(mixed)
    return mixed.flatten(0, 1)


def _attend_own(q: Tensor, scores: Tensor, reading: Reading, layer: int) -> tuple[Tensor, Tensor]:
    """What rows take from their own tail, and the weights that are left to their prefix.

    q: (kv heads, group, rows, dim), as the first result; scores: (..., prefix), as the second.
    """
    keys, values = reading.tail.keys[layer], reading.tail.values[layer]
    own = (q.flatten(1, 2) @ keys.transpose(1, 2)).unflatten(1, q.shape[1:3]) + reading.unseen
    before, own = torch.softmax(torch.cat([scores, own], -1), -1).tensor_split([scores.shape[3]], -1)
    return (own.flatten(1, 2) @ values).view_as(q), before
