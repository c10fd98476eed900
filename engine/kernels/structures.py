"""The structures of `native/types.h`, as ctypes."""

from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

FLOAT32, BFLOAT16, INT8_ROWS = 0, 1, 2  # the last: of caches
BFLOAT16_PAIRS, INT4, INT8 = -1, 0, 1
GGUF_FORMATS = {"Q8_0": 2, "Q4_0": 3, "Q4_1": 4, "Q5_0": 5, "Q5_1": 6, "Q4_K": 7, "Q5_K": 8, "Q6_K": 9}
FLOAT_FORMATS = {"F16": 10, "BF16": 11}  # of weights in GGUF files
FORMAT_NAMES = {BFLOAT16_PAIRS: "bfloat16", INT4: "int4", INT8: "int8"} | {
    number: name for name, number in (GGUF_FORMATS | FLOAT_FORMATS).items()
}
NO_ACTIVATION, GELU, MULTIPLY_BY_SILU = 0, 1, 2
NO_NORM, LAYER_NORM, RMS_NORM = 0, 1, 2
MAX_HEAD_DIM = 256  # of attention

DTYPES = {torch.float32: FLOAT32, torch.bfloat16: BFLOAT16}
CACHE_DTYPES = DTYPES | {torch.int8: INT8_ROWS}


class Matrix(Structure):
    """Weights of a linear layer."""

    _fields_ = (
        ("format", c_int32),
        ("group", c_int32),
        ("rows", c_int64),
        ("columns", c_int64),
        ("values", c_void_p),
        ("scales", c_void_p),
        ("zeros", c_void_p),
    )


class Rows(Structure):
    """Rows of numbers."""

    _fields_ = (("data", c_void_p), ("stride", c_int64), ("dtype", c_int32))


class Norm(Structure):
    """Normalisation of rows."""

    _fields_ = (("kind", c_int32), ("epsilon", c_float), ("weight", c_void_p), ("bias", c_void_p))


class LinearStep(Structure):
    """A linear layer of a sequence."""

    _fields_ = (
        ("x", Rows),
        ("columns", c_int64),
        ("norm", Norm),
        ("same_input", c_int32),
        ("activation", c_int32),
        ("weight", Matrix),
        ("bias", c_void_p),
        ("gate", Rows),
        ("residual", Rows),
        ("y", Rows),
    )


class KeyValues(Structure):
    """Cached keys and values."""

    _fields_ = (("keys", c_void_p), ("values", c_void_p), ("head_stride", c_int64), ("positions", c_int64))


class CachedSequence(Structure):
    """The next rows of a sequence, and its cache."""

    _fields_ = (
        ("first_row", c_int64),
        ("rows", c_int64),
        ("length", c_int64),
        ("causal", c_int32),
        ("segments", c_int32),
        ("shared", POINTER(KeyValues)),
        ("own", KeyValues),
    )


class AttentionStep(Structure):
    """Attention of a layer for a step of few rows."""

    _fields_ = (
        ("qkv", Rows),
        ("output", Rows),
        ("queries", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("sequences", POINTER(CachedSequence)),
        ("count", c_int64),
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("head_dim", c_int64),
        ("rotary_dim", c_int64),
        ("scale", c_float),
        ("epsilon", c_float),
        ("interleaved", c_int32),
        ("cache_dtype", c_int32),
    )


class HeadRows(Structure):
    """Numbers of all heads of rows."""

    _fields_ = (("data", c_void_p), ("row_stride", c_int64), ("head_stride", c_int64))


class Rotation(Structure):
    """Rotary embedding of all heads of rows."""

    _fields_ = (
        ("x", HeadRows),
        ("y", HeadRows),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("rows", c_int64),
        ("heads", c_int64),
        ("head_dim", c_int64),
        ("rotary_dim", c_int64),
        ("interleaved", c_int32),
        ("dtype", c_int32),
    )


class KeyValueRows(Structure):
    """Keys and values of consecutive positions."""

    _fields_ = (("keys", HeadRows), ("values", HeadRows), ("positions", c_int64))


class ManyRowsAttention(Structure):
    """Attention of many rows of a sequence."""

    _fields_ = (
        ("queries", HeadRows),
        ("output", Rows),
        ("parts", POINTER(KeyValueRows)),
        ("part_count", c_int64),
        ("positions", c_int64),
        ("rows", c_int64),
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("head_dim", c_int64),
        ("scale", c_float),
        ("causal", c_int32),
    )


class ConvolvedSequence(Structure):
    """The next rows of a sequence, and the state of its convolution."""

    _fields_ = (("first_row", c_int64), ("rows", c_int64), ("state", c_void_p), ("next_state", c_void_p))


class ConvolutionStep(Structure):
    """A gated short convolution."""

    _fields_ = (
        ("gates", Rows),
        ("output", Rows),
        ("kernel", c_void_p),
        ("sequences", c_void_p),  # array of ConvolvedSequence
        ("count", c_int64),
        ("channels", c_int64),
        ("taps", c_int64),
    )


class DecoderLayer(Structure):
    """A layer of a decoder for a step of few rows."""

    _fields_ = (
        ("before", POINTER(LinearStep)),
        ("after", POINTER(LinearStep)),
        ("attention", POINTER(AttentionStep)),
        ("convolution", POINTER(ConvolutionStep)),
        ("before_count", c_int32),
        ("after_count", c_int32),
    )


def rows_of(x: Tensor) -> Rows:
    """Describe a tensor (rows, columns) whose rows are contiguous."""
    return Rows(x.data_ptr(), x.stride(0), DTYPES[x.dtype])


def heads_of(x: Tensor) -> HeadRows:
    """Describe a tensor (heads, rows, dim) in which the numbers of a head of a row are contiguous."""
    assert x.stride(2) == 1
    return HeadRows(x.data_ptr(), x.stride(1), x.stride(0))
