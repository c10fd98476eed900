"""Softmax(q k^T / sqrt(d)) v, in the form that is fastest where it runs.

On a CPU torch's fused attention is far from the limit of the machine; plain products over a few heads at a time, whose
scores stay in the cache, take a third of its time. A sequence's result does not depend on the batch there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.layers.kv_cache import KeyValueCache, SequenceCache

HEADS_PER_CHUNK = 4  # scores of 4 x 730 x 730 in 16 bits are 4 MB
FULL_ATTENTION_MIN_ROWS = 256  # that begin a text, from which the form for whole texts pays


def full_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """Attend within each of n texts or pictures: every row sees every other, or if `causal` those up to itself.

    Consecutive query heads share a kv head where there are fewer of those.

    Args:
        q: (n, heads, rows, dim), contiguous.
        k: (n, kv heads, rows, dim).
        v: as k.

    Returns:
        (n * rows, heads * dim).
    """
    n, heads, rows, dim = q.shape
    if q.device.type == "cpu":
        attn_output = torch.stack([_attend_by_heads(*one, causal) for one in zip(q, k, v, strict=True)])
    else:
        attn_output = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads > k.shape[1])
    return attn_output.transpose(1, 2).reshape(n * rows, heads * dim)


def _attend_by_heads(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    heads, rows, dim = q.shape
    groups = heads // k.shape[0]
    step = max(1, HEADS_PER_CHUNK // groups)
    out = torch.empty_like(q)
    q, grouped = (x.view(k.shape[0], groups * rows, dim) for x in (q, out))
    scores = q.new_empty(step, groups * rows, rows)
    later = torch.ones(rows, rows, dtype=torch.bool, device=q.device).triu_(1) if causal else None
    for first in range(0, k.shape[0], step):
        some = slice(first, first + step)
        part = scores[: k[some].shape[0]]
        torch.baddbmm(part, q[some], k[some].transpose(1, 2), beta=0, alpha=dim**-0.5, out=part)
        if later is not None:
            part.view(-1, rows, rows).masked_fill_(later, float("-inf"))
        torch.softmax(part, -1, out=part)
        torch.bmm(part, v[some], out=grouped[some])
    return out


@dataclass(frozen=True)
class QuerySpan:
    """`rows` of a batch, which are the next of one sequence: they see what its cache holds, and each other.

    causal: of each other only those up to themselves; False: all, as the patches of a picture do.
    """

    cache: SequenceCache
    rows: slice
    causal: bool = True

    @property
    def count(self) -> int:
        return self.rows.stop - self.rows.start


class CachedAttention:
    """Attention in one step of a batch, for all of its layers: each sequence over its own cache."""

    def __init__(self, spans: Sequence[QuerySpan]) -> None:
        """readings: one behind the other, of sequences that have room for them."""
        grouped = [list(some) for _, some in groupby(spans, _computed_with)]
        self._parts = [_FullAttention(some) if _is_whole(some[0]) else _PrefixAttention(some) for some in grouped]
        self._spans = spans

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: (heads, rows, dim); k, v: (kv heads, rows, dim), which go into the caches -> (rows, heads * dim)."""
        self.write(layer, k, v)
        attn_output = [part(layer, q) for part in self._parts]
        return attn_output[0] if len(attn_output) == 1 else torch.cat(attn_output)

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Only put keys and values into the caches."""
        for span in self._spans:
            _key_values(span, layer).write(k[:, span.rows], v[:, span.rows])


def _is_whole(span: QuerySpan) -> bool:
    """Whether its rows see nothing but each other, and are enough to do without the cache's form."""
    return not span.cache.length and (not span.causal or span.count >= FULL_ATTENTION_MIN_ROWS)


def _computed_with(span: QuerySpan) -> tuple[object, ...]:
    """Equal for those that are computed together; its own for one whose rounding others would change."""
    prefix, keys = span.cache.prefix, _first(span.cache).keys
    on_cpu = keys.device.type == "cpu"
    if _is_whole(span):
        return (id(span),) if on_cpu else (span.count, span.causal)
    alone = prefix is None or (on_cpu and keys.dtype != torch.bfloat16)
    return (id(span if alone else prefix),)


def _first(cache: SequenceCache) -> KeyValueCache:
    """Of its layers of attention, which all have the same length and room."""
    return next(layer for layer in cache.layers if isinstance(layer, KeyValueCache))


def _key_values(span: QuerySpan, layer: int) -> KeyValueCache:
    cache = span.cache.layers[layer]
    assert isinstance(cache, KeyValueCache)
    return cache


class _FullAttention:
    """Of sequences that begin with these rows, equally many in each."""

    def __init__(self, spans: Sequence[QuerySpan]) -> None:
        self._spans = spans
        self._rows = slice(spans[0].rows.start, spans[-1].rows.stop)

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        count, causal = self._spans[0].count, self._spans[0].causal
        q = q[:, self._rows].unflatten(1, (-1, count)).transpose(0, 1).contiguous()
        caches = [_key_values(one, layer) for one in self._spans]
        k, v = ([x[:, :count] for x in some] for some in ([c.keys for c in caches], [c.values for c in caches]))
        if len(caches) == 1:
            return full_attention(q, k[0][None], v[0][None], causal)
        return full_attention(q, torch.stack(k), torch.stack(v), causal)


class _PrefixAttention:
    """Of sequences that go on from one prefix, which their rows read together, or of one alone.

    All of a sequence's own room is read, not what is written of it: shapes that change with each token would have
    oneDNN make new kernels for each.
    """

    def __init__(self, spans: Sequence[QuerySpan]) -> None:
        self._spans = spans
        self._start = spans[0].rows.start
        self._mask_of = [_mask_of(one) for one in spans]

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        caches = [_key_values(one, layer) for one in self._spans]
        shared = caches[0].shared
        q = q[:, self._start : self._spans[-1].rows.stop] * q.shape[2] ** -0.5
        q = q.unflatten(0, (caches[0].keys.shape[0], -1))  # kv heads, group, rows, dim
        scores = [(q.flatten(1, 2) @ one.keys.transpose(1, 2)).unflatten(1, q.shape[1:3]) for one in shared]
        before = scores[0] if len(scores) == 1 else torch.cat([q[..., :0], *scores], -1)
        parts = []
        for span, cache, mask in zip(self._spans, caches, self._mask_of, strict=True):
            some = slice(span.rows.start - self._start, span.rows.stop - self._start)
            parts.append(_attend_own(q[:, :, some], before[:, :, some], cache, mask))
        attn_output, weights = parts[0] if len(parts) == 1 else (torch.cat(x, 2) for x in zip(*parts, strict=True))
        for one, weight in zip(shared, weights.split([one.keys.shape[1] for one in shared], -1), strict=True):
            attn_output += (weight.flatten(1, 2) @ one.values).view_as(attn_output)
        return attn_output.flatten(0, 1).transpose(0, 1).flatten(1)


def _mask_of(span: QuerySpan) -> Tensor:
    """(rows, the cache's own room): 0, or -inf for what a row must not see."""
    cache = _first(span.cache)
    room = cache.keys.shape[1]
    mask = torch.full((span.count, room), float("-inf"), dtype=cache.keys.dtype, device=cache.keys.device)
    if span.causal:
        return mask.triu_(cache.length + 1)
    mask[:, : cache.length + span.count] = 0
    return mask


def _attend_own(q: Tensor, scores: Tensor, cache: KeyValueCache, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What rows take from the sequence's own keys and values, and the weights that are left to what is shared.

    q: (kv heads, group, rows, dim), as the first result; scores: (..., shared positions), as the second.
    """
    own = (q.flatten(1, 2) @ cache.keys.transpose(1, 2)).unflatten(1, q.shape[1:3]) + mask
    before, own = torch.softmax(torch.cat([scores, own], -1), -1).tensor_split([scores.shape[3]], -1)
    return (own.flatten(1, 2) @ cache.values).view_as(q), before
