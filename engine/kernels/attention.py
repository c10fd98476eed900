"""Attention of many rows of a sequence by our CPU kernels, a prefill or the patches of an image; rotary embedding."""

from collections.abc import Sequence
from ctypes import CDLL, byref, c_int32

import torch
from torch import Tensor

from engine.kernels.library import kernels
from engine.kernels.structures import DTYPES, MAX_HEAD_DIM, KeyValueRows, ManyRowsAttention, Rotation, heads_of, rows_of


def has_head_kernels(dtype: torch.dtype, head_dim: int, device: str) -> bool:
    """Return whether our kernels are in use, and attend with and rotate heads of this dtype and width."""
    known = dtype in DTYPES and head_dim <= MAX_HEAD_DIM and head_dim % 2 == 0
    return known and device == "cpu" and kernels().library is not None


def attend_many_rows(q: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], causal: bool) -> Tensor:
    """Compute scaled dot-product attention of the last rows of a sequence.

    Grouped-query attention: consecutive query heads share a KV head if there are fewer of those. In each tensor the
    numbers of a head of a row are contiguous.

    Args:
        q: (heads, rows, dim), float32 or bfloat16.
        keys: Of all positions, those of the rows last: parts (kv_heads, positions, dim), of the dtype of q.
        values: As keys.
        causal: Whether rows attend only to positions up to their own; else to all.

    Returns:
        (rows, heads * dim).
    """
    heads, rows, dim = q.shape
    output = q.new_empty(rows, heads * dim)
    parts = (KeyValueRows * len(keys))()
    for part, key, value in zip(parts, keys, values, strict=True):
        part.keys, part.values, part.positions = heads_of(key), heads_of(value), key.shape[1]
    step = ManyRowsAttention(
        queries=heads_of(q), output=rows_of(output), parts=parts, part_count=len(keys),
        positions=sum(key.shape[1] for key in keys), rows=rows, heads=heads, kv_heads=keys[0].shape[0], head_dim=dim,
        scale=dim**-0.5, causal=causal,
    )  # fmt: skip
    _library().mdtool_attend_many(byref(step), c_int32(torch.get_num_threads()))
    return output


def rotate_rows(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Rotate the pairs (x[i], x[i + half]) of the first dimensions of each head, computed in float32.

    Args:
        x: (rows, heads, dim), float32 or bfloat16; the numbers of a head are contiguous.
        cos: (rows, half), float32.
        sin: As cos.
        interleaved: Whether pair i is written to 2 i and 2 i + 1; else to where it was.

    Returns:
        (rows, heads, dim).
    """
    rows, heads, dim = x.shape
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    cos, sin = cos.contiguous(), sin.contiguous()
    step = Rotation(
        x=heads_of(x.transpose(0, 1)), y=heads_of(y.transpose(0, 1)), cos=cos.data_ptr(), sin=sin.data_ptr(), rows=rows,
        heads=heads, head_dim=dim, rotary_dim=2 * cos.shape[1], interleaved=interleaved, dtype=DTYPES[x.dtype],
    )  # fmt: skip
    _library().mdtool_rotate(byref(step), c_int32(torch.get_num_threads()))
    return y


def _library() -> CDLL:
    library = kernels().library
    assert library is not None
    return library
