"""Quantisation schemes, and which matrices of a model they quantise to int4 or int8."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.contract import EngineError
from engine.finite import check_weights
from engine.quantization.formats import (
    GROUP_SIZES,
    Int4,
    Matrix,
    groups_for,
    quantize_int4,
    quantize_int8,
)
from engine.quantization.gguf_blocks import GgufBlocks
from engine.quantization.row_table import Int8Rows, RowTable
from engine.quantization.tensor_source import TensorSource

INT4_ALL = "int4-all"  # all matrices that are quantised become int4

# scheme -> largest group size of int4 matrices; None: int8
QUANTIZATION_SCHEMES: Mapping[str, int | None] = (
    {"int4": GROUP_SIZES[0]}
    | {f"int4-{size}": size for size in GROUP_SIZES[1:]}
    | {INT4_ALL: GROUP_SIZES[0], "int8": None}
)


@dataclass(frozen=True)
class QuantizationPlan:
    """The matrices of a family that are quantised, by patterns that match their full names.

    Attributes:
        quantised: Matrices that are quantised.
        int4_names: Those of them that the int4 schemes quantise to int4; the others become int8, except by `INT4_ALL`.
    """

    quantized: re.Pattern[str]
    int4_names: re.Pattern[str]

    def quantizes(self, name: str) -> bool:
        """Return whether the matrix of this name is quantised."""
        return self.quantized.fullmatch(name) is not None

    def group_size(self, name: str, scheme: str) -> int | None:
        """Return the largest group size of a quantised matrix under this scheme; None if it becomes int8."""
        return QUANTIZATION_SCHEMES[scheme] if scheme == INT4_ALL or self.int4_names.fullmatch(name) else None


@dataclass(frozen=True)
class QuantizedSource:
    """A `TensorSource` that quantises the matrices of another one as they are read.

    Attributes:
        source: Of the weights.
        plan: Of the model's family.
        scheme: One of `QUANTIZATION_SCHEMES`.
    """

    source: TensorSource
    plan: QuantizationPlan
    scheme: str

    def has(self, name: str) -> bool:
        """Return whether there is a tensor of this name."""
        return self.source.has(name)

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """Return the tensor as the source has it, unquantised."""
        return self.source.tensor(name, dtype, device)

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """Return the quantised matrix.

        Raises:
            EngineError: The stored matrix is int4, and the scheme is int8; or it is quantised in a GGUF file.
            ModelUnavailable: The stored matrix has NaN or infinity.
        """
        stored = self.source.matrix(name, dtype, device)
        if isinstance(stored, Int4):
            if QUANTIZATION_SCHEMES[self.scheme] is None:
                raise EngineError("the weights are already int4 and can't be quantised to int8; leave that out")
            return replace(stored, exact=False)
        if isinstance(stored, GgufBlocks) and self.plan.quantizes(name):
            if stored.type.is_quantized:
                raise EngineError(f"the weights are already quantised ({stored.type.name}): leave quantize out")
            stored = stored.dequantize(dtype)
        if not isinstance(stored, Tensor) or not self.plan.quantizes(name):
            return stored
        size = self.plan.group_size(name, self.scheme)
        quantized = quantize_int4(stored, size) if size else quantize_int8(stored)
        check_weights(name, quantized.scale)
        return quantized

    def row_table(self, name: str) -> RowTable | None:
        """Return the table of the source, whose rows are quantised as they are looked up; None in int4.

        Quantisation to int4 takes many small operations, more than a decode step can spare.
        """
        table = self.source.row_table(name)
        if table is None or table.is_quantized or not self.plan.quantizes(name):
            return table
        return None if self.plan.group_size(name, self.scheme) else Int8Rows(table)


def weights_bytes(
    shapes: Mapping[str, tuple[int, ...]], itemsize: int, plan: QuantizationPlan, scheme: str | None = None
) -> int:
    """Return the size of a model's tensors in bytes.

    Args:
        shapes: Name -> shape of every tensor.
        itemsize: Bytes of a number that is not quantised.
        plan: Of the model's family.
        scheme: One of `QUANTIZATION_SCHEMES`; None: nothing is quantised.
    """
    total = 0
    for name, shape in shapes.items():
        if scheme is None or not plan.quantizes(name):
            total += itemsize * math.prod(shape)
        elif size := plan.group_size(name, scheme):
            group, padding = groups_for(shape[1], size)
            columns = shape[1] + padding
            total += shape[0] * (columns // 2 + 2 * itemsize * (columns // group))
        else:
            total += math.prod(shape) + 4 * shape[0]
    return total
