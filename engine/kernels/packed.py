"""Weights in the kernels' layout, and the calls that multiply with them.

Layout: see `native/types.h`. Rows of int4 and int8 are padded with zeros to whole blocks of 128 columns.
"""

from ctypes import CDLL, byref, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels import structures
from engine.kernels.library import kernels
from engine.kernels.structures import (
    BFLOAT16_PAIRS,
    FLOAT_FORMATS,
    GGUF_FORMATS,
    INT4,
    INT8,
    LinearStep,
    Norm,
    rows_of,
)
from engine.quantization.formats import Int8, Matrix
from engine.quantization.gguf_blocks import GgufBlocks

BLOCK = 128  # columns
FORMATS = GGUF_FORMATS | FLOAT_FORMATS
PANEL = 16  # rows of bfloat16 weights that lie together
MINIMUM_COLUMNS = 32  # that share a minimum in GGUF's blocks


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """Weights W (rows, columns) as the kernels read them.

    Attributes:
        values: (rows, padded columns) int8; (rows, padded columns / 2) uint8 with two weights a byte, of int4;
            (rows, bytes of a row) uint8, of GGUF's blocks and floats; (rows, columns) bfloat16, in pairs.
        scales: (rows) float32 of int8, (rows, groups) bfloat16 of int4; None of all others.
        zeros: (rows, groups) bfloat16 of int4; else None.
        columns: Without padding.
        format: See `structures`.
        group: Columns that share a zero point or minimum, of int4 and blocks.
    """

    values: Tensor
    scales: Tensor | None
    zeros: Tensor | None
    columns: int
    format: int
    group: int = BLOCK

    @cached_property
    def structure(self) -> structures.Matrix:
        """The description for the kernels; valid as long as this object."""
        scales, zeros = (None if part is None else part.data_ptr() for part in (self.scales, self.zeros))
        columns = self.padded_columns if self.format in (INT4, INT8) else self.columns
        return structures.Matrix(self.format, self.group, self.rows, columns, self.values.data_ptr(), scales, zeros)

    @property
    def rows(self) -> int:
        """The number of outputs of the layer."""
        return self.values.shape[0]

    @property
    def padded_columns(self) -> int:
        """Columns with padding."""
        return -(-self.columns // BLOCK) * BLOCK


def pack(weight: Matrix) -> PackedMatrix:
    """Copy weights into the kernels' layout; what lies in a GGUF file is not copied."""
    rows, columns = weight.shape
    if isinstance(weight, Tensor):
        pairs = weight.view(rows // PANEL, PANEL, columns // 2, 2).transpose(1, 2)
        return PackedMatrix(pairs.contiguous().view(rows, columns), None, None, columns, BFLOAT16_PAIRS)
    padding = -columns % BLOCK
    if isinstance(weight, GgufBlocks):
        return PackedMatrix(weight.raw.contiguous(), None, None, columns, FORMATS[weight.type.name], MINIMUM_COLUMNS)
    if isinstance(weight, Int8):
        values = F.pad(weight.values, (0, padding)) if padding else weight.values
        return PackedMatrix(values.contiguous(), weight.scale.float(), None, columns, INT8)
    padding -= weight.padding  # it has some already
    group, count = weight.group_size, padding // weight.group_size
    values = F.pad(weight.values(), (0, padding)) if padding else weight.values()
    blocks = values.view(rows, -1, 2, BLOCK // 2)
    values = (blocks[:, :, 0] | blocks[:, :, 1] << 4).view(rows, -1)
    scales, zeros = (F.pad(x.bfloat16(), (0, count)).contiguous() for x in (weight.scale, weight.zero))
    return PackedMatrix(values, scales, zeros, columns, INT4, group)


def linear_step(
    weight: PackedMatrix,
    bias: Tensor | None,
    x: Tensor,
    y: Tensor,
    *,
    activation: int = 0,
    residual: Tensor | None = None,
) -> LinearStep:
    """Describe y = activation(x W^T + bias) + residual; all tensors must outlive the description."""
    step = LinearStep(x=rows_of(x), columns=weight.columns, weight=weight.structure, y=rows_of(y))
    step.activation = activation
    if bias is not None:
        step.bias = bias.data_ptr()
    if residual is not None:
        step.residual = rows_of(residual)
    return step


def multiply_few_rows(
    weight: PackedMatrix, bias: Tensor | None, x: Tensor, activation: int, *, norm: Norm | None = None
) -> Tensor:
    """Return activation(norm(x) W^T + bias) for few rows of x: (rows, in) float32 or bfloat16, in the dtype of x."""
    x = x.contiguous()
    y = x.new_empty(x.shape[0], weight.rows)
    step = linear_step(weight, bias, x, y, activation=activation)
    if norm:
        step.norm = norm
    _library().mdtool_run_linears(byref(step), c_int64(1), c_int64(len(x)), _threads())
    return y


def quantize_rows(x: Tensor, norm: Norm | None = None) -> tuple[Tensor, Tensor]:
    """Round activations to int8, with a scale per row, after a normalisation.

    Args:
        x: (rows, columns) float32 or bfloat16.
        norm: None for no normalisation.

    Returns:
        Values (rows, padded columns), and scales (rows) float32.
    """
    x = x.contiguous()
    rows, columns = x.shape
    values = torch.empty(rows, -(-columns // BLOCK) * BLOCK, dtype=torch.int8)
    scales = torch.empty(rows)
    _library().mdtool_quantize_rows(
        byref(rows_of(x)), c_int64(columns), byref(norm or Norm()), c_int64(rows), c_void_p(values.data_ptr()),
        c_int64(values.shape[1]), c_void_p(scales.data_ptr()), _threads(),
    )  # fmt: skip
    return values, scales


def has_gemm() -> bool:
    """Return whether `multiply_many_rows` is there, and faster than torch's int8 GEMM."""
    return bool(_library().mdtool_has_gemm())


def multiply_many_rows(
    weight: PackedMatrix,
    bias: Tensor | None,
    values: Tensor,
    scales: Tensor,
    *,
    y: Tensor,
    activation: int,
    residual: Tensor | None = None,
) -> None:
    """Write activation(x W^T + bias) + residual to y for many rows of x.

    Args:
        weight: W, of any format.
        bias: (out) or None.
        values: Of x, (rows, padded columns), as `quantize_rows` returns them.
        scales: Of x, (rows).
        y: (rows, out), written.
        activation: See `structures`.
        residual: (rows, out) or None.
    """
    step = LinearStep(columns=weight.columns, weight=weight.structure, y=rows_of(y), activation=activation)
    if residual is not None:
        step.residual = rows_of(residual)
    if bias is not None:
        step.bias = bias.data_ptr()
    _library().mdtool_multiply_many_rows(
        byref(step), c_void_p(values.data_ptr()), c_void_p(scales.data_ptr()), c_int64(len(values)), _threads()
    )


def widen(weight: PackedMatrix, begin: int, end: int, *, values: Tensor, scales: Tensor) -> None:
    """Convert rows of int4 weights or of blocks to int8 with a scale per row.

    Args:
        weight: Not int8.
        begin: First row.
        end: Row after the last.
        values: (end - begin, padded columns) int8, written.
        scales: (end - begin) float32, written.
    """
    _library().mdtool_widen(
        byref(weight.structure), c_int64(begin), c_int64(end), c_void_p(values.data_ptr()),
        c_void_p(scales.data_ptr()), _threads(),
    )  # fmt: skip


def convert(weight: PackedMatrix, begin: int, end: int, out: Tensor) -> Tensor:
    """Return `out`, (end - begin, columns) bfloat16 or float32, with rows of weights in one of `FLOAT_FORMATS`."""
    _library().mdtool_convert(byref(weight.structure), c_int64(begin), c_int64(end), byref(rows_of(out)), _threads())
    return out


def finish(
    sums: Tensor,
    x_scales: Tensor,
    weight_scales: Tensor,
    bias: Tensor | None,
    *,
    y: Tensor,
    column: int,
    activation: int,
    residual: Tensor | None = None,
) -> None:
    """Write activation(sums * scales + bias) + residual to columns of y.

    Args:
        sums: (rows, columns) int32, of an int8 GEMM.
        x_scales: (rows).
        weight_scales: (columns).
        bias: (out) or None.
        y: (rows, out), written from `column` on.
        column: First column.
        activation: See `structures`.
        residual: (rows, out) or None.
    """
    step = LinearStep(y=rows_of(y), activation=activation)
    if bias is not None:
        step.bias = bias.data_ptr()
    if residual is not None:
        step.residual = rows_of(residual)
    _library().mdtool_finish(
        byref(step), c_void_p(sums.data_ptr()), c_int64(sums.shape[0]), c_int64(sums.shape[1]),
        c_void_p(x_scales.data_ptr()), c_void_p(weight_scales.data_ptr()), c_int64(column), _threads(),
    )  # fmt: skip


def _library() -> CDLL:
    library = kernels().library
    assert library is not None
    return library


def _threads() -> c_int32:
    return c_int32(torch.get_num_threads())
