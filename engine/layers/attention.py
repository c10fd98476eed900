"""Scaled dot-product attention (Vaswani et al. 2017) over full sequences and over KV caches, per device.

On a CPU our kernels compute the attention of many rows. Without them, batched matrix multiplications over a few heads
at a time, whose scores stay in the CPU cache, take half the time of torch's fused attention. On a CPU a sequence's
result does not depend on the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels.attention import has_head_kernels
from engine.kernels.operators import many_rows_attention
from engine.kernels.structures import DTYPES
from engine.layers.kv_cache import KeyValueCache, SequenceCache, as_floats

HEADS_PER_CHUNK = 4  # scores of 4 x 730 x 730 in 16 bits are 4 MB
FULL_ATTENTION_MIN_ROWS = 256  # rows of a causal prefill from which full_attention is faster
KERNEL_MIN_ROWS = 16  # rows of a sequence from which our kernel is faster than matrix multiplications


def full_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """Compute attention within each of n sequences: all rows attend to all, or with `causal` to those up to themselves.

    Grouped-query attention: consecutive query heads share a KV head if there are fewer of those.

    Args:
        q: (n, heads, rows, dim).
        k: (n, kv_heads, rows, dim).
        v: (n, kv_heads, rows, dim).
        causal: Whether to apply a causal mask.

    Returns:
        (n * rows, heads * dim).
    """
    n, heads, rows, dim = q.shape
    if has_head_kernels(q.dtype, dim, q.device.type):
        parts = [many_rows_attention(q, [k], [v], causal) for q, k, v in zip(q, k, v, strict=True)]
        return parts[0] if n == 1 else torch.cat(parts)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    if q.device.type == "cpu":
        attn_output = torch.stack([_attend_in_head_chunks(*qkv, causal) for qkv in zip(q, k, v, strict=True)])
    else:
        attn_output = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads > k.shape[1])
    return attn_output.transpose(1, 2).reshape(n * rows, heads * dim)


def _attend_in_head_chunks(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    heads, rows, dim = q.shape
    groups = heads // k.shape[0]
    step = max(1, HEADS_PER_CHUNK // groups)
    out = torch.empty_like(q)
    q, grouped = (x.view(k.shape[0], groups * rows, dim) for x in (q, out))
    scores = q.new_empty(step, groups * rows, rows)
    future = torch.ones(rows, rows, dtype=torch.bool, device=q.device).triu_(1) if causal else None
    for first in range(0, k.shape[0], step):
        chunk = slice(first, first + step)
        weights = scores[: k[chunk].shape[0]]
        torch.baddbmm(weights, q[chunk], k[chunk].transpose(1, 2), beta=0, alpha=dim**-0.5, out=weights)
        if future is not None:
            weights.view(-1, rows, rows).masked_fill_(future, float("-inf"))
        torch.softmax(weights, -1, out=weights)
        torch.bmm(weights, v[chunk], out=grouped[chunk])
    return out


@dataclass(frozen=True)
class QuerySpan:
    """The next rows of one sequence within a batch; they attend to the sequence's cache and to each other.

    Attributes:
        cache: Of the sequence.
        rows: Within the batch.
        causal: Whether rows attend only to rows up to themselves; False: to all, as image patches do.
    """

    cache: SequenceCache
    rows: slice
    causal: bool = True

    @property
    def count(self) -> int:
        """The number of rows."""
        count: int = self.rows.stop - self.rows.start
        return count


class CachedAttention:
    """Attention of one forward pass of a batch, for all layers; each sequence uses its own KV cache."""

    def __init__(self, spans: Sequence[QuerySpan]) -> None:
        """Group the spans by the kernel that computes them.

        Args:
            spans: Consecutive rows of the batch, of sequences with reserved room for them.
        """
        grouped = [list(group) for _, group in groupby(spans, _group_key)]
        self._parts = [_part(group) for group in grouped]
        self._spans = spans

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write keys and values to the caches and compute attention.

        Args:
            layer: Index of the layer.
            q: (heads, rows, dim).
            k: (kv_heads, rows, dim).
            v: (kv_heads, rows, dim).

        Returns:
            (rows, heads * dim).
        """
        self.write(layer, k, v)
        attn_output = [part(layer, q) for part in self._parts]
        return attn_output[0] if len(attn_output) == 1 else torch.cat(attn_output)

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Write keys and values, each (kv_heads, rows, dim), to the caches only."""
        for span in self._spans:
            _key_values(span, layer).write(k[:, span.rows], v[:, span.rows])


def _part(spans: Sequence[QuerySpan]) -> "_KernelAttention | _FullAttention | _PrefixAttention":
    if _uses_kernel(spans[0]):
        return _KernelAttention(spans[0])
    return _FullAttention(spans) if _uses_full_attention(spans[0]) else _PrefixAttention(spans)


def _uses_kernel(span: QuerySpan) -> bool:
    """Whether our kernel for many rows computes it, alone."""
    cache = first_kv_cache(span.cache)
    dtype = torch.float32 if cache.keys.dtype == torch.int8 else cache.keys.dtype
    return span.count >= KERNEL_MIN_ROWS and has_head_kernels(dtype, cache.head_dim, cache.keys.device.type)


def _uses_full_attention(span: QuerySpan) -> bool:
    """Whether its rows attend only to each other, and are enough for full_attention to be faster."""
    return not span.cache.length and (not span.causal or span.count >= FULL_ATTENTION_MIN_ROWS)


def _group_key(span: QuerySpan) -> tuple[object, ...]:
    """Equal for spans that are computed together; unique where a group would change the rounding."""
    prefix, keys = span.cache.prefix, first_kv_cache(span.cache).keys
    on_cpu = keys.device.type == "cpu"
    if _uses_kernel(span):
        return (id(span),)
    if _uses_full_attention(span):
        return (id(span),) if on_cpu else (span.count, span.causal)
    alone = prefix is None or (on_cpu and keys.dtype != torch.bfloat16)
    return (id(span if alone else prefix),)


def first_kv_cache(cache: SequenceCache) -> KeyValueCache:
    """Return the cache of the first attention layer; all of them have the same length and capacity."""
    return next(layer for layer in cache.layers if isinstance(layer, KeyValueCache))


def _key_values(span: QuerySpan, layer: int) -> KeyValueCache:
    cache = span.cache.layers[layer]
    assert isinstance(cache, KeyValueCache)
    return cache


class _KernelAttention:
    """Attention of one sequence by our kernel for many rows."""

    def __init__(self, span: QuerySpan) -> None:
        self._span = span

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        cache = _key_values(self._span, layer)
        dtype = q.dtype if q.dtype in DTYPES else torch.float32  # the latter with a cache in int8
        own = cache.written(cache.length + self._span.count)
        parts = (*cache.shared, own)
        keys = [as_floats(part.keys, dtype) for part in parts]
        values = [as_floats(part.values, dtype) for part in parts]
        attn_output = many_rows_attention(q[:, self._span.rows].to(dtype), keys, values, self._span.causal)
        return attn_output.to(q.dtype)


class _FullAttention:
    """Attention of sequences that start with these rows, equally many in each."""

    def __init__(self, spans: Sequence[QuerySpan]) -> None:
        self._spans = spans
        self._rows = slice(spans[0].rows.start, spans[-1].rows.stop)

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        count, causal = self._spans[0].count, self._spans[0].causal
        q = q[:, self._rows].unflatten(1, (-1, count)).transpose(0, 1)
        caches = [_key_values(span, layer) for span in self._spans]
        k = [as_floats(cache.keys[:, :count], q.dtype) for cache in caches]
        v = [as_floats(cache.values[:, :count], q.dtype) for cache in caches]
        if len(caches) == 1:
            return full_attention(q, k[0][None], v[0][None], causal)
        return full_attention(q, torch.stack(k), torch.stack(v), causal)


class _PrefixAttention:
    """Attention of sequences that share a prefix, whose keys are multiplied with all their rows together, or of one.

    A sequence's own keys are read up to their capacity, with a mask: with shapes that change at each token, oneDNN
    would create new kernels for each.
    """

    def __init__(self, spans: Sequence[QuerySpan]) -> None:
        self._spans = spans
        self._start = spans[0].rows.start
        self._masks = [_attention_mask(span) for span in spans]

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        caches = [_key_values(span, layer) for span in self._spans]
        shared = caches[0].shared
        q = q[:, self._start : self._spans[-1].rows.stop] * q.shape[2] ** -0.5
        q = q.unflatten(0, (caches[0].keys.shape[0], -1))  # kv_heads, group, rows, dim
        keys = [as_floats(prefix.keys, q.dtype) for prefix in shared]
        scores = [(q.flatten(1, 2) @ k.transpose(1, 2)).unflatten(1, q.shape[1:3]) for k in keys]
        prefix_scores = scores[0] if len(scores) == 1 else torch.cat([q[..., :0], *scores], -1)
        parts = []
        for span, cache, mask in zip(self._spans, caches, self._masks, strict=True):
            rows = slice(span.rows.start - self._start, span.rows.stop - self._start)
            parts.append(_attend_own(q[:, :, rows], prefix_scores[:, :, rows], cache, mask))
        attn_output, weights = parts[0] if len(parts) == 1 else (torch.cat(x, 2) for x in zip(*parts, strict=True))
        lengths = [prefix.keys.shape[1] for prefix in shared]
        for prefix, weight in zip(shared, weights.split(lengths, -1), strict=True):
            values = as_floats(prefix.values, q.dtype)
            attn_output += (weight.flatten(1, 2) @ values).view_as(attn_output)
        return attn_output.flatten(0, 1).transpose(0, 1).flatten(1)


def _attention_mask(span: QuerySpan) -> Tensor:
    """Return the additive mask (rows, capacity of the own cache): 0, or -inf where a row must not attend."""
    cache = first_kv_cache(span.cache)
    capacity = cache.keys.shape[1]
    dtype = cache.keys.dtype if cache.keys.is_floating_point() else torch.float32
    mask = torch.full((span.count, capacity), float("-inf"), dtype=dtype, device=cache.keys.device)
    if span.causal:
        return mask.triu_(cache.length + 1)
    mask[:, : cache.length + span.count] = 0
    return mask


def _attend_own(q: Tensor, scores: Tensor, cache: KeyValueCache, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attend to a sequence's own keys and values.

    Args:
        q: (kv_heads, group, rows, dim), scaled.
        scores: (kv_heads, group, rows, prefix positions), before softmax.
        cache: Of the sequence.
        mask: For its own positions.

    Returns:
        Their part of the output, shaped as q, and the attention weights of the prefix, shaped as scores.
    """
    keys, values = as_floats(cache.keys, q.dtype), as_floats(cache.values, q.dtype)
    own = (q.flatten(1, 2) @ keys.transpose(1, 2)).unflatten(1, q.shape[1:3]) + mask.to(q.dtype)
    prefix_weights, own_weights = torch.softmax(torch.cat([scores, own], -1), -1).tensor_split([scores.shape[3]], -1)
    return (own_weights.flatten(1, 2) @ values).view_as(q), prefix_weights
