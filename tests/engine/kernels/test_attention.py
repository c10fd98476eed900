"""Attention of a step by our CPU kernels against float64: shared prefixes, own caches, rotary embedding, norms."""

from ctypes import POINTER, byref, c_int32, cast
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_reference import random
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from torch import Tensor

from engine.generation.fused_decoder import sequence_table
from engine.kernels.library import kernels
from engine.kernels.structures import CACHE_DTYPES, AttentionStep, CachedSequence, rows_of
from engine.layers.attention import QuerySpan
from engine.layers.kv_cache import KeyValueCache, KeyValues, SequenceCache, as_floats, quantize_heads

pytestmark = needs_kernels

EPS = 1e-6


@dataclass(frozen=True)
class Layer:
    """What an attention layer computes with."""

    heads: int = 4
    kv_heads: int = 2
    dim: int = 64
    rotary_dim: int = 64
    interleaved: bool = False
    norms: bool = False
    dtype: torch.dtype = torch.float32
    int8_cache: bool = False

    @property
    def cache_dtype(self) -> torch.dtype:
        return torch.int8 if self.int8_cache else self.dtype

    @property
    def width(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.dim

    def norm_weights(self) -> tuple[Tensor, Tensor]:
        q, k = 1 + random(2, self.dim, seed=7, dtype=self.dtype) / 4
        return q, k


@dataclass(frozen=True)
class Step:
    """Rows of several sequences, and their angles, (rows, rotary_dim / 2)."""

    layer: Layer
    qkv: Tensor
    angles: Tensor
    spans: list[QuerySpan]

    def attend(self) -> Tensor:
        """Return the kernels' output; it may be called again, as nothing is committed to the caches."""
        layer, library = self.layer, kernels().library
        assert library is not None
        rows = len(self.qkv)
        output = torch.full((rows, layer.heads * layer.dim), torch.nan, dtype=layer.dtype)
        queries = torch.empty(rows, layer.heads * layer.dim)
        table = sequence_table(self.spans, 0)
        cos, sin = self.angles.cos(), self.angles.sin()
        q_norm, k_norm = layer.norm_weights()
        step = AttentionStep(
            qkv=rows_of(self.qkv), output=rows_of(output), queries=queries.data_ptr(), cos=cos.data_ptr(),
            sin=sin.data_ptr(), q_norm=q_norm.data_ptr() if layer.norms else None,
            k_norm=k_norm.data_ptr() if layer.norms else None, count=len(self.spans),
            sequences=cast(table[0].buffer_info()[0], POINTER(CachedSequence)), heads=layer.heads,
            kv_heads=layer.kv_heads, head_dim=layer.dim, rotary_dim=layer.rotary_dim, scale=layer.dim**-0.5,
            epsilon=EPS, interleaved=layer.interleaved, cache_dtype=CACHE_DTYPES[layer.cache_dtype],
        )  # fmt: skip
        library.mdtool_attend(byref(step), c_int32(torch.get_num_threads()))
        return output

    def heads(self) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v after norms and rotation, (rows, heads, dim) float64."""
        layer = self.layer
        q, k, v = (
            self.qkv.double()
            .unflatten(1, (-1, layer.dim))
            .split([layer.heads, layer.kv_heads, layer.kv_heads], 1)
        )  # fmt: skip
        if layer.norms:
            q, k = (
                F.rms_norm(x, (layer.dim,), weight.double(), EPS)
                for x, weight in zip((q, k), layer.norm_weights(), strict=True)
            )
        return self._rotated(q), self._rotated(k), v

    def _rotated(self, x: Tensor) -> Tensor:
        half, angles = self.layer.rotary_dim // 2, self.angles[:, None]
        cos, sin = angles.cos().double(), angles.sin().double()
        a, b = x[..., :half], x[..., half : 2 * half]
        pairs = torch.stack([a * cos - b * sin, a * sin + b * cos], 3 if self.layer.interleaved else 2).flatten(2)
        return torch.cat([pairs, x[..., 2 * half :]], 2)

    def wanted(self) -> Tensor:
        """The output in float64, of keys and values as the caches hold them after `attend`."""
        layer, outputs = self.layer, []
        q, _, _ = self.heads()
        for span in self.spans:
            [cache] = span.cache.layers
            assert isinstance(cache, KeyValueCache)
            end = cache.length + span.count
            k = torch.cat([*(part.keys for part in cache.shared), cache.keys[:, :end]], 1)
            v = torch.cat([*(part.values for part in cache.shared), cache.values[:, :end]], 1)
            group = layer.heads // layer.kv_heads
            k, v = (as_floats(x, torch.float32).double().repeat_interleave(group, 0) for x in (k, v))
            scores = q[span.rows].transpose(0, 1) @ k.transpose(1, 2) / layer.dim**0.5
            if span.causal:
                future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(scores.shape[2] - span.count + 1)
                scores.masked_fill_(future, -torch.inf)
            outputs.append((scores.softmax(2) @ v).transpose(0, 1).flatten(1))
        return torch.cat(outputs)


def cached(layer: Layer, positions: int, seed: int, room: int = 0) -> KeyValues:
    """Random keys and values; with `room` between the heads, as in caches that have grown."""
    keys, values = random(2, layer.kv_heads, positions + room, layer.dim, seed=seed, dtype=layer.dtype)
    if layer.int8_cache:
        keys, values = quantize_heads(keys), quantize_heads(values)
    return KeyValues(keys[:, :positions], values[:, :positions])


def sequence(layer: Layer, shared: tuple[KeyValues, ...], length: int, rows: int, seed: int) -> SequenceCache:
    own = KeyValueCache(KeyValueCache.new(layer.kv_heads, layer.dim, layer.cache_dtype, "cpu").keys, shared)
    own.reserve(length + rows)
    own.write(*random(2, layer.kv_heads, length, layer.dim, seed=seed, dtype=layer.dtype))
    own.commit(length)
    return SequenceCache([own])


def step_of(layer: Layer, prefixes: list[list[int]], sequences: list[list[tuple[int, int, bool]]], seed: int) -> Step:
    """prefixes: lengths of the segments of each; sequences: (own length, rows, causal) of those that share it."""
    spans: list[QuerySpan] = []
    for index, (segments, members) in enumerate(zip(prefixes, sequences, strict=True)):
        shared = tuple(cached(layer, size, seed + 100 * index + at, room=at) for at, size in enumerate(segments))
        for length, rows, causal in members:
            start = spans[-1].rows.stop if spans else 0
            cache = sequence(layer, shared, length, rows, seed + 1000 + start)
            spans.append(QuerySpan(cache, slice(start, start + rows), causal))
    rows = spans[-1].rows.stop
    angles = random(rows, layer.rotary_dim // 2, seed=seed) * 3
    return Step(layer, random(rows, layer.width, seed=seed, dtype=layer.dtype), angles, spans)


def check(step: Step) -> None:
    output = assert_same_in_all_sets(step.attend)
    eps = torch.finfo(step.layer.dtype).eps
    for kind, new in zip(("keys", "values"), step.heads()[1:], strict=True):
        for span in step.spans:
            [cache] = span.cache.layers
            assert isinstance(cache, KeyValueCache)
            written = getattr(cache, kind)[:, cache.length : cache.length + span.count].transpose(0, 1)
            off = (as_floats(written, torch.float32).double() - new[span.rows]).abs()
            step_size = new[span.rows].abs().amax(2, keepdim=True) / 127 if step.layer.int8_cache else 0
            assert (off <= new[span.rows].abs() * eps + step_size * 0.51 + 2e-6).all()
    torch.testing.assert_close(output.double(), step.wanted(), rtol=eps, atol=5e-6)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    heads, kv_heads = draw(st.sampled_from(((1, 1), (2, 2), (4, 2), (6, 1), (10, 2))))
    dim = draw(st.sampled_from((8, 64, 72, 128)))
    rotary_dim = draw(st.sampled_from((dim, dim // 2)))
    dtype = draw(st.sampled_from((torch.float32, torch.bfloat16)))
    interleaved, norms, int8_cache = (draw(st.booleans()) for _ in range(3))
    return Layer(heads, kv_heads, dim, rotary_dim, interleaved, norms, dtype, int8_cache)


members = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4), st.booleans()), min_size=1, max_size=6)
groups = st.lists(st.tuples(st.lists(st.integers(1, 40), max_size=3), members), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(layer=layers(), groups=groups, seed=st.integers(0, 2**31))
def test_agrees_with_float64_and_between_instruction_sets(
    layer: Layer, groups: list[tuple[list[int], list[tuple[int, int, bool]]]], seed: int
) -> None:
    prefixes, sequences = zip(*groups, strict=True)
    check(step_of(layer, list(prefixes), list(sequences), seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("dim", [8, 64, 72, 128])
def test_a_long_prefix_and_several_segments(dtype: torch.dtype, interleaved: bool, norms: bool, dim: int) -> None:
    layer = Layer(6, 2, dim, dim // 2, interleaved, norms, dtype)
    check(step_of(layer, [[730, 5, 33], []], [[(0, 1, True), (17, 1, True), (90, 3, False)], [(200, 2, True)]], 5))


@settings(max_examples=30, deadline=None)
@given(layer=layers(), segments=st.lists(st.integers(1, 40), max_size=3), members=members, seed=st.integers(0, 2**31))
def test_a_sequence_alone_is_the_sequence_in_a_batch(
    layer: Layer, segments: list[int], members: list[tuple[int, int, bool]], seed: int
) -> None:
    step = step_of(layer, [segments], [members], seed)
    batch = step.attend()
    for span in step.spans:
        own = [replace(span, rows=slice(0, span.count))]
        alone = Step(step.layer, step.qkv[span.rows], step.angles[span.rows], own)
        assert same_bits(alone.attend(), batch[span.rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("int8_cache", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_row_spoils_its_sequence_and_no_other(dtype: torch.dtype, int8_cache: bool, bad: float) -> None:
    layer = Layer(dtype=dtype, int8_cache=int8_cache)
    step = step_of(layer, [[20, 3]], [[(0, 1, True), (4, 1, True), (9, 2, True)]], 1)
    clean = step.attend()
    step.qkv[1, :] = bad
    y = assert_same_in_all_sets(step.attend)
    assert not y[1].isfinite().any()
    assert same_bits(y[[0, 2, 3]], clean[[0, 2, 3]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_of_any_size(dtype: torch.dtype) -> None:
    """One key wins by far: softmax must neither overflow nor lose the others' zeros."""
    layer = Layer(2, 2, 64, 0, dtype=dtype)
    step = step_of(layer, [[50]], [[(3, 1, True), (3, 1, True)]], 2)
    step.qkv[:, : 2 * layer.dim] *= 300
    check(step)
