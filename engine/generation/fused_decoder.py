"""Decoder layers on few rows in one call of our CPU kernels: linear layers, attention, and all that lies between them.

A block describes its layer as a `FusedLayer`. Its linear layers pass rows through named buffers:

    x           the layer's input              y           the layer's output
    qkv         queries, keys and values       attention   the output of attention
    gates       what a convolution reads       convolved   its output
    any other name                             a buffer of the layer's own
"""

from array import array
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_int32, c_int64, cast, pointer
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from engine.kernels.library import kernels
from engine.kernels.packed import linear_step
from engine.kernels.structures import (
    BFLOAT16_PAIRS,
    CACHE_DTYPES,
    DTYPES,
    LAYER_NORM,
    MAX_HEAD_DIM,
    NO_ACTIVATION,
    RMS_NORM,
    AttentionStep,
    CachedSequence,
    ConvolutionStep,
    DecoderLayer,
    LinearStep,
    Norm,
    rows_of,
)
from engine.layers.attention import QuerySpan
from engine.layers.kernel_linear import KernelLinear
from engine.layers.kv_cache import ConvCache, KeyValueCache, KeyValues
from engine.layers.linear import LinearLayer
from engine.layers.short_conv import conv_table, convolution_step, set_sequences

ROWS = 64  # buffers have room for a multiple of them


@dataclass(frozen=True, eq=False)
class FusedNorm:
    """LayerNorm, or without a bias RMSNorm, of the rows that a linear layer reads."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    @property
    def structure(self) -> Norm:
        """The description for the kernels."""
        bias = None if self.bias is None else self.bias.data_ptr()
        return Norm(RMS_NORM if bias is None else LAYER_NORM, self.eps, self.weight.data_ptr(), bias)


@dataclass(frozen=True, eq=False)
class FusedLinear:
    """A linear layer between two buffers: target = activation(norm(source) W^T + b) + residual.

    Attributes:
        column: First column of the target that is written.
        activation: See `engine.kernels.structures`.
        gate: Buffer whose SiLU the output is multiplied by, with that activation.
        residual: Buffer that is added.
    """

    linear: LinearLayer
    source: str
    target: str
    column: int = 0
    norm: FusedNorm | None = None
    activation: int = NO_ACTIVATION
    gate: str | None = None
    residual: str | None = None


@dataclass(frozen=True, eq=False)
class FusedAttention:
    """Grouped-query attention with rotary positions, from the buffer qkv to attention.

    Attributes:
        interleaved: Whether rotated pairs are written to neighbouring dimensions.
        q_norm: Weight of an RMSNorm over each head of the queries, or None.
        k_norm: The same of the keys.
        eps: Of these norms.
    """

    heads: int
    kv_heads: int
    head_dim: int
    interleaved: bool = False
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None
    eps: float = 0.0

    @property
    def buffers(self) -> dict[str, int]:
        """Widths of the buffers that it reads and writes."""
        return {"qkv": (self.heads + 2 * self.kv_heads) * self.head_dim, "attention": self.heads * self.head_dim}


@dataclass(frozen=True, eq=False)
class FusedConvolution:
    """A gated short convolution, from the buffer gates to convolved: see `engine.layers.short_conv`.

    Attributes:
        taps: (L, channels).
    """

    taps: Tensor

    @property
    def buffers(self) -> dict[str, int]:
        """Widths of the buffers that it reads and writes."""
        channels = self.taps.shape[1]
        return {"gates": 3 * channels, "convolved": channels}


@dataclass(frozen=True, eq=False)
class FusedLayer:
    """A decoder layer.

    Attributes:
        before: Linear layers before the mixer, up to the buffer that it reads.
        mixer: What rows of a sequence pass on to later ones.
        after: Linear layers after it, up to the buffer y.
    """

    before: Sequence[FusedLinear]
    mixer: FusedAttention | FusedConvolution
    after: Sequence[FusedLinear]

    @property
    def linears(self) -> list[FusedLinear]:
        """All linear layers, in order."""
        return [*self.before, *self.after]


def can_fuse(layer: FusedLayer, dtype: torch.dtype) -> bool:
    """Return whether our kernels can compute all of a decoder layer, for activations of this dtype."""
    too_wide = isinstance(layer.mixer, FusedAttention) and layer.mixer.head_dim > MAX_HEAD_DIM
    return dtype in DTYPES and not too_wide and all(isinstance(fused.linear, KernelLinear) for fused in layer.linears)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The calls for up to a number of rows: descriptions, and the buffers that they point to."""

    layers: Any  # array of DecoderLayer
    mixers: list[AttentionStep | ConvolutionStep]
    inputs: Tensor
    output: Tensor
    keep_alive: list[Any] = field(default_factory=list)


class FusedDecoder:
    """Runs all layers of a decoder on few rows."""

    def __init__(self, layers: Sequence[FusedLayer], dtype: torch.dtype) -> None:
        """Take layers that `can_fuse`."""
        self.layers, self.dtype = layers, dtype
        self._prepared: dict[tuple[int, int], _Prepared] = {}
        self._lock = Lock()

    def __call__(
        self, x: Tensor, cos: Tensor, sin: Tensor, spans: Sequence[QuerySpan], *, hidden: bool = True
    ) -> Tensor:
        """Extend the caches of the spans' sequences, which have room reserved, and return the hidden states.

        Args:
            x: (rows, dim).
            cos: Rotary cosines, (rows, rotary_dim / 2) float32.
            sin: Rotary sines, as cos.
            spans: Consecutive rows of x.
            hidden: Whether the hidden states are needed; if not, the last layer stops once its cache is written.

        Returns:
            (rows, dim); of no meaning if not `hidden`.
        """
        library = kernels().library
        assert library is not None
        cos, sin = cos.contiguous(), sin.contiguous()
        with self._lock:
            key = -(-len(x) // ROWS) * ROWS, cos.shape[1]
            if key not in self._prepared:
                self._prepared[key] = self._prepare(*key)
            prepared = self._prepared[key]
            prepared.inputs[: len(x)].copy_(x)
            tables: list[Any] = []
            for layer, mixer in enumerate(prepared.mixers):
                if isinstance(mixer, ConvolutionStep):
                    tables.append(conv_table([(_conv_cache(span, layer), span.rows) for span in spans]))
                    set_sequences(mixer, tables[-1])
                    continue
                tables.append(sequence_table(spans, layer))
                mixer.sequences = cast(tables[-1][0].buffer_info()[0], POINTER(CachedSequence))
                mixer.count = len(spans)
                mixer.cache_dtype = CACHE_DTYPES[_key_value_cache(spans[0], layer).keys.dtype]
                mixer.cos, mixer.sin = cos.data_ptr(), sin.data_ptr()
            last = prepared.mixers[-1]
            stops_early = not hidden and isinstance(last, AttentionStep)
            rows, threads = c_int64(len(x)), c_int32(torch.get_num_threads())
            library.mdtool_run_decoder(prepared.layers, c_int64(len(self.layers) - stops_early), rows, threads)
            if stops_early:
                count = sum(fused.target == "qkv" for fused in self.layers[-1].before)
                library.mdtool_run_linears(prepared.layers[-1].before, c_int64(count), rows, threads)
                library.mdtool_extend_caches(byref(last), threads)
            return prepared.output[: len(x)].clone()

    def _prepare(self, rows: int, half_rotary: int) -> _Prepared:
        dim, dtype = _matrix(self.layers[0].after[-1]).rows, self.dtype
        streams = [torch.zeros(rows, dim, dtype=dtype) for _ in range(2)]
        shared: dict[tuple[str, int], Tensor] = {}
        keep_alive: list[Any] = [streams, shared]
        calls = (DecoderLayer * len(self.layers))()
        mixers: list[AttentionStep | ConvolutionStep] = []

        def buffer(name: str, width: int, dtype: torch.dtype = dtype) -> Tensor:
            if (name, width) not in shared:
                shared[name, width] = torch.zeros(rows, width, dtype=dtype)
            return shared[name, width]

        for index, layer in enumerate(self.layers):
            mixer = layer.mixer
            buffers = {"x": streams[index % 2], "y": streams[1 - index % 2]}
            buffers |= {name: buffer(name, width) for name, width in mixer.buffers.items()}
            for fused in layer.linears:
                if fused.target not in buffers:
                    buffers[fused.target] = buffer(fused.target, _matrix(fused).rows)
            before, after = (_steps(linears, buffers) for linears in (layer.before, layer.after))
            call = DecoderLayer(before, after, before_count=len(before), after_count=len(after))
            if isinstance(mixer, FusedAttention):
                queries = buffer("queries", mixer.heads * mixer.head_dim, torch.float32)
                mixers.append(_attention_step(mixer, buffers, queries, rotary_dim=2 * half_rotary))
                call.attention = pointer(mixers[-1])
            else:
                mixers.append(convolution_step(buffers["gates"], mixer.taps, buffers["convolved"]))
                call.convolution = pointer(mixers[-1])
            calls[index] = call
            keep_alive += [before, after]
        return _Prepared(calls, mixers, streams[0], streams[len(self.layers) % 2], keep_alive)


def _attention_step(
    attention: FusedAttention, buffers: dict[str, Tensor], queries: Tensor, *, rotary_dim: int
) -> AttentionStep:
    q_norm, k_norm = (None if norm is None else norm.data_ptr() for norm in (attention.q_norm, attention.k_norm))
    return AttentionStep(
        qkv=rows_of(buffers["qkv"]), output=rows_of(buffers["attention"]), queries=queries.data_ptr(), q_norm=q_norm,
        k_norm=k_norm, heads=attention.heads, kv_heads=attention.kv_heads, head_dim=attention.head_dim,
        rotary_dim=rotary_dim, scale=attention.head_dim**-0.5, epsilon=attention.eps, interleaved=attention.interleaved,
    )  # fmt: skip


def _reads_floats(fused: FusedLinear) -> bool:
    return bool(_matrix(fused).format == BFLOAT16_PAIRS)


def _matrix(fused: FusedLinear) -> Any:
    assert isinstance(fused.linear, KernelLinear)
    return fused.linear.weight


def _steps(linears: Sequence[FusedLinear], buffers: dict[str, Tensor]) -> Any:
    """Return the linear layers as an array of LinearStep."""
    steps = (LinearStep * len(linears))()
    for index, fused in enumerate(linears):
        assert isinstance(fused.linear, KernelLinear)
        weight, target = fused.linear.weight, buffers[fused.target]
        residual = None if fused.residual is None else buffers[fused.residual]
        y = target[:, fused.column : fused.column + weight.rows]
        step = linear_step(
            weight, fused.linear.bias, buffers[fused.source], y, activation=fused.activation, residual=residual
        )
        if fused.norm:
            step.norm = fused.norm.structure
        if fused.gate:
            step.gate = rows_of(buffers[fused.gate])
        before = linears[index - 1] if index else None
        same_rows = before and before.source == fused.source and before.norm is fused.norm
        step.same_input = bool(same_rows and before and _reads_floats(before) == _reads_floats(fused))
        steps[index] = step
    return steps


def sequence_table(spans: Sequence[QuerySpan], layer: int) -> tuple["array[int]", list["array[int]"]]:
    """Return the caches of a layer as an array of CachedSequence, and the arrays of KeyValues that it points to."""
    table: list[int] = []
    shared: dict[tuple[int, ...], array[int]] = {}
    for span in spans:
        cache = _key_value_cache(span, layer)
        parts = cache.shared
        key = tuple(map(id, parts))
        if key not in shared:
            shared[key] = array("q", [number for part in parts for number in _key_values(part, part.keys.shape[1])])
        address = shared[key].buffer_info()[0] if parts else 0
        count = span.rows.stop - span.rows.start
        table += (span.rows.start, count, cache.length, span.causal | len(parts) << 32, address)
        table += _key_values(cache, cache.length)
    return array("q", table), list(shared.values())


def _key_value_cache(span: QuerySpan, layer: int) -> KeyValueCache:
    cache = span.cache.layers[layer]
    assert isinstance(cache, KeyValueCache)
    return cache


def _conv_cache(span: QuerySpan, layer: int) -> ConvCache:
    cache = span.cache.layers[layer]
    assert isinstance(cache, ConvCache)
    return cache


def _key_values(part: KeyValues | KeyValueCache, positions: int) -> Iterator[int]:
    yield part.keys.data_ptr()
    yield part.values.data_ptr()
    yield part.keys.stride(0)
    yield positions
