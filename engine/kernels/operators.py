"""The kernels as torch operators, which torch.compile can keep in its graphs; eager calls skip torch's dispatch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.kernels.attention import attend_many_rows, rotate_rows
from engine.kernels.packed import PackedMatrix, multiply_few_rows

_LIBRARY = torch.library.Library("mdtool", "DEF")
_LIBRARY.define(
    "few_rows_linear(Tensor x, Tensor values, Tensor? scales, Tensor? zeros, Tensor? bias, int columns, int format,"
    " int group, int activation) -> Tensor"
)
_LIBRARY.define("many_rows_attention(Tensor q, Tensor[] keys, Tensor[] values, bool causal) -> Tensor")
_LIBRARY.define("rotate(Tensor x, Tensor cos, Tensor sin, bool interleaved) -> Tensor")


def few_rows_linear(weight: PackedMatrix, bias: Tensor | None, x: Tensor, activation: int) -> Tensor:
    """Return activation(x W^T + bias); see `packed.multiply_few_rows`."""
    if torch.compiler.is_compiling():
        tensors = weight.values, weight.scales, weight.zeros, bias
        numbers = weight.columns, weight.format, weight.group, activation
        output: Tensor = torch.ops.mdtool.few_rows_linear(x, *tensors, *numbers)
        return output
    return multiply_few_rows(weight, bias, x, activation)


@torch.library.impl(_LIBRARY, "few_rows_linear", "CPU")
def _few_rows_linear(  # noqa: PLR0917 (torch passes arguments by position)
    x: Tensor, values: Tensor, scales: Tensor | None, zeros: Tensor | None, bias: Tensor | None, *numbers: int
) -> Tensor:
    *shape, activation = numbers
    return multiply_few_rows(PackedMatrix(values, scales, zeros, *shape), bias, x, activation)


def _shape(x: Tensor, values: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape[0], values.shape[0])


torch.library.register_fake("mdtool::few_rows_linear", _shape, lib=_LIBRARY)


def many_rows_attention(q: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], causal: bool) -> Tensor:
    """Return the attention of many rows of a sequence; see `attention.attend_many_rows`."""
    if torch.compiler.is_compiling():
        output: Tensor = torch.ops.mdtool.many_rows_attention(q, list(keys), list(values), causal)
        return output
    return attend_many_rows(q, keys, values, causal)


torch.library.impl(_LIBRARY, "many_rows_attention", "CPU")(attend_many_rows)


def _attention_shape(q: Tensor, *_: object) -> Tensor:
    heads, rows, dim = q.shape
    return q.new_empty(rows, heads * dim)


torch.library.register_fake("mdtool::many_rows_attention", _attention_shape, lib=_LIBRARY)


def rotated(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Return heads after rotary embedding; see `attention.rotate_rows`."""
    if torch.compiler.is_compiling():
        output: Tensor = torch.ops.mdtool.rotate(x, cos, sin, interleaved)
        return output
    return rotate_rows(x, cos, sin, interleaved)


torch.library.impl(_LIBRARY, "rotate", "CPU")(rotate_rows)


def _rotated_shape(x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


torch.library.register_fake("mdtool::rotate", _rotated_shape, lib=_LIBRARY)
