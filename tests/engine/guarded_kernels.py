"""Runs our CPU kernels on buffers between unmapped pages: reading or writing beyond one ends the process (SIGSEGV).

`python guarded_kernels.py [instruction set]`
"""

import ctypes
import mmap
import sys
from array import array
from ctypes import POINTER, byref, c_int32, c_int64, c_void_p, cast
from itertools import product

import torch
from kernel_reference import TYPES, random, random_blocks, random_floats, random_int4, random_int8
from kernel_sets import using
from torch import Tensor

from engine.generation.fused_decoder import FusedNorm, sequence_table
from engine.kernels.attention import attend_many_rows, rotate_rows
from engine.kernels.library import kernels
from engine.kernels.packed import (
    PANEL,
    PackedMatrix,
    convert,
    finish,
    has_gemm,
    linear_step,
    multiply_many_rows,
    pack,
    quantize_rows,
    widen,
)
from engine.kernels.structures import (
    BFLOAT16_PAIRS,
    CACHE_DTYPES,
    DTYPES,
    FLOAT_FORMATS,
    GELU,
    GGUF_FORMATS,
    INT8,
    MULTIPLY_BY_SILU,
    AttentionStep,
    CachedSequence,
    rows_of,
)
from engine.layers.attention import QuerySpan
from engine.layers.kv_cache import KeyValueCache, KeyValues, SequenceCache, quantize_heads
from engine.layers.short_conv import convolution_step, set_sequences

PAGE = mmap.PAGESIZE
PROT_NONE = 0
LIBC = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Copies of tensors that touch an unmapped page, at their end or at their start."""

    def __init__(self, at_end: bool) -> None:
        self.at_end = at_end
        self._kept: list[mmap.mmap] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Return a copy, rows and all heads without a gap."""
        x = x.contiguous()
        size = x.numel() * x.element_size()
        pages = -(-size // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._kept.append(memory)
        start = PAGE + (pages * PAGE - size if self.at_end else 0)
        copy = torch.frombuffer(memory, dtype=x.dtype, count=x.numel(), offset=start).view(x.shape)
        copy.copy_(x)
        first = copy.data_ptr() - start
        for page in (first, first + (pages + 1) * PAGE):
            if LIBC.mprotect(c_void_p(page), ctypes.c_size_t(PAGE), PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        return copy

    def optional(self, x: Tensor | None) -> Tensor | None:
        """Return a copy; None of None."""
        return None if x is None else self(x)

    def matrix(self, weight: PackedMatrix) -> PackedMatrix:
        """Return a copy."""
        return PackedMatrix(
            self(weight.values),
            self.optional(weight.scales),
            self.optional(weight.zeros),
            weight.columns,
            weight.format,
            weight.group,
        )


def matrices(outputs: int) -> list[PackedMatrix]:
    """In all formats, with and without padding, of one block and of many."""
    int8 = [random_int8(outputs, columns, columns) for columns in (1, 127, 128, 300)]
    int4 = [
        random_int4(outputs, columns, group, columns)
        for group, columns in ((32, 32), (32, 160), (64, 64), (64, 320), (128, 128), (128, 2176))
    ]
    blocks = [
        random_blocks(name, outputs, units * TYPES[name].weights, units) for name in GGUF_FORMATS for units in (1, 2, 5)
    ]
    floats = [random_floats(name, outputs, columns, 1) for name in FLOAT_FORMATS for columns in (1, 15, 33, 128, 300)]
    pairs = [random(outputs, columns, seed=columns, dtype=torch.bfloat16) for columns in (2, 34, 130)]
    wide = pairs if outputs % PANEL == 0 else []
    return [*map(pack, int8), *map(pack, int4), *map(pack, blocks), *map(pack, floats), *map(pack, wide)]


def run_linears(guarded: Guarded) -> None:
    """Few rows and many, in each way that a layer ends."""
    library = kernels().library
    assert library is not None
    for outputs, dtype in product((1, 3, 16, 37, 81), DTYPES):
        bias = guarded(random(outputs, seed=1, dtype=dtype))
        for matrix in map(guarded.matrix, matrices(outputs)):
            norm_weight, norm_bias = (guarded(random(matrix.columns, seed=s, dtype=dtype)) for s in (2, 3))
            norm = FusedNorm(norm_weight, norm_bias, 1e-5).structure
            for rows, activation in product((1, 2, 3, 4, 7), (GELU, MULTIPLY_BY_SILU)):
                x, y, gate, residual = (
                    guarded(random(rows, columns, seed=rows, dtype=dtype))
                    for columns in (matrix.columns, outputs, outputs, outputs)
                )
                step = linear_step(matrix, bias, x, y, activation=activation, residual=residual)
                step.gate, step.norm = rows_of(gate), norm
                library.mdtool_run_linears(byref(step), c_int64(1), c_int64(rows), c_int32(2))
            if matrix.format == BFLOAT16_PAIRS:
                continue
            if matrix.format in FLOAT_FORMATS.values():
                for converted in DTYPES:
                    convert(matrix, 0, outputs, guarded(torch.zeros(outputs, matrix.columns, dtype=converted)))
                continue
            rounded = map(guarded, quantize_rows(guarded(random(7, matrix.columns, seed=1, dtype=dtype)), norm))
            if has_gemm():
                y = guarded(torch.zeros(7, outputs, dtype=dtype))
                multiply_many_rows(matrix, bias, *rounded, y=y, activation=GELU)
            if matrix.format != INT8:
                values = guarded(torch.zeros(outputs, matrix.padded_columns, dtype=torch.int8))
                widen(matrix, 0, outputs, values=values, scales=guarded(torch.zeros(outputs)))
        sums = guarded(torch.ones(5, outputs, dtype=torch.int32))
        y, residual = (guarded(torch.zeros(5, outputs, dtype=dtype)) for _ in range(2))
        scales = guarded(torch.ones(5)), guarded(torch.ones(outputs))
        finish(sums, *scales, bias, y=y, column=0, activation=GELU, residual=residual)


def run_attention(guarded: Guarded) -> None:
    """Two sequences with a prefix of two segments, and caches without room."""
    library = kernels().library
    assert library is not None
    for dim, (heads, kv_heads), dtype, int8 in product((8, 64, 72, 128), ((2, 2), (6, 2)), DTYPES, (False, True)):

        def part(positions: int, like: tuple[int, int, torch.dtype, bool] = (kv_heads, dim, dtype, int8)) -> Tensor:
            kv_heads, dim, dtype, int8 = like
            numbers = random(kv_heads, positions, dim, seed=positions, dtype=dtype)
            return guarded(quantize_heads(numbers) if int8 else numbers)

        shared = tuple(KeyValues(part(positions), part(positions)) for positions in (1, 45))
        spans = []
        for first, rows in ((0, 1), (1, 3)):
            cache = KeyValueCache(torch.empty(kv_heads, 0, dim, dtype=dtype), shared)
            cache.keys, cache.values, cache.length = part(7 + rows), part(7 + rows), 7
            spans.append(QuerySpan(SequenceCache([cache]), slice(first, first + rows)))
        table = sequence_table(spans, 0)
        qkv, output = (guarded(random(4, count * dim, seed=1, dtype=dtype)) for count in (heads + 2 * kv_heads, heads))
        queries, cos, sin = (guarded(torch.ones(4, width)) for width in (heads * dim, dim // 2, dim // 2))
        q_norm, k_norm = (guarded(torch.ones(dim, dtype=dtype)) for _ in range(2))
        step = AttentionStep(
            qkv=rows_of(qkv), output=rows_of(output), queries=queries.data_ptr(), cos=cos.data_ptr(),
            sin=sin.data_ptr(), q_norm=q_norm.data_ptr(), k_norm=k_norm.data_ptr(), count=len(spans),
            sequences=cast(table[0].buffer_info()[0], POINTER(CachedSequence)), heads=heads, kv_heads=kv_heads,
            head_dim=dim, rotary_dim=dim, scale=dim**-0.5, epsilon=1e-6,
            cache_dtype=CACHE_DTYPES[torch.int8 if int8 else dtype],
        )  # fmt: skip
        library.mdtool_attend(byref(step), c_int32(2))
        assert output.isfinite().all()


def run_attention_of_many_rows(guarded: Guarded) -> None:
    """A sequence of two parts, with odd numbers of rows and positions; and its rotary embedding."""
    for dim, (heads, kv_heads), dtype, causal in product((2, 64, 72), ((2, 2), (6, 2)), DTYPES, (False, True)):
        q = guarded(random(heads, 55, dim, seed=1, dtype=dtype))
        keys, values = (
            [guarded(random(kv_heads, positions, dim, seed=seed, dtype=dtype)) for positions in (258, 55)]
            for seed in (2, 3)
        )
        assert attend_many_rows(q, keys, values, causal).isfinite().all()
        cos, sin = (guarded(torch.ones(heads, dim // 2)) for _ in range(2))
        for interleaved in (True, False):
            rotate_rows(q, cos, sin, interleaved)


def run_convolutions(guarded: Guarded) -> None:
    """Sequences of fewer rows than the state has, and of more."""
    library = kernels().library
    assert library is not None
    for channels, taps, dtype in product((1, 16, 37, 64), (2, 3, 5), DTYPES):
        kernel, gates, output = (
            guarded(random(*shape, seed=1, dtype=dtype))
            for shape in ((taps, channels), (8, 3 * channels), (8, channels))
        )
        table = array("q")
        for first, end in ((0, 1), (1, 3), (3, 8)):
            states = [guarded(random(taps - 1, channels, seed=first, dtype=dtype)) for _ in range(2)]
            table.extend([first, end - first, *(state.data_ptr() for state in states)])
        step = convolution_step(gates, kernel, output)
        set_sequences(step, table)
        library.mdtool_convolve(byref(step), c_int32(2))


def overrun() -> None:
    """Read one byte too many, to show that the pages are guarded."""
    x = Guarded(at_end=True)(torch.zeros(3))
    ctypes.string_at(x.data_ptr(), 13)


if __name__ == "__main__":
    if sys.argv[1] == "overrun":
        overrun()
    else:
        with using(sys.argv[1]):
            for at_end in (True, False):
                run_linears(Guarded(at_end))
                run_attention(Guarded(at_end))
                run_attention_of_many_rows(Guarded(at_end))
                run_convolutions(Guarded(at_end))
        print("within bounds")
