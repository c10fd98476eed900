"""Which of a model's matrices are quantised, and to how many bits."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.contract import EngineError
from engine.quantization.formats import (
    GROUP_SIZES,
    Int4,
    Matrix,
    group_size_for,
    quantize_int4,
    quantize_int8,
)
from engine.quantization.tensor_source import TensorSource

# what can be asked for -> the group size of a matrix in 4 bits; None: 8 bits
QUANTIZATION_SCHEMES: Mapping[str, int | None] = (
    {"int4": GROUP_SIZES[0]} | {f"int4-{size}": size for size in GROUP_SIZES[1:]} | {"int8": None}
)


@dataclass(frozen=True)
class QuantizationPlan:
    """Which matrices of a family are quantised, by patterns that match their whole names.

    int4_names: of those, which are in 4 bits if the kind is one of "int4"; the others are in 8 bits then.
    """

    quantized: re.Pattern[str]
    int4_names: re.Pattern[str]

    def quantizes(self, name: str) -> bool:
        return self.quantized.fullmatch(name) is not None

    def group_size(self, name: str, scheme: str) -> int | None:
        """Return the largest group size that a quantised matrix may have in 4 bits; None if it is in 8 bits."""
        return QUANTIZATION_SCHEMES[scheme] if self.int4_names.fullmatch(name) else None


@dataclass(frozen=True)
class QuantizedSource:
    """Another source, whose matrices are quantised as they are read. kind: of `QUANTIZATION_SCHEMES`."""

    source: TensorSource
    plan: QuantizationPlan
    scheme: str

    def has(self, name: str) -> bool:
        return self.source.has(name)

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        return self.source.tensor(name, dtype, device)

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """EngineError if it is in 4 bits already, and 8 are asked for."""
        stored = self.source.matrix(name, dtype, device)
        if isinstance(stored, Int4):
            if QUANTIZATION_SCHEMES[self.scheme] is None:
                raise EngineError("the weights are in 4 bits already: they can't be quantized to int8; leave that out")
            return replace(stored, exact=False)
        if not isinstance(stored, Tensor) or not self.plan.quantizes(name):
            return stored
        size = self.plan.group_size(name, self.scheme)
        return quantize_int4(stored, size) if size else quantize_int8(stored)


def weights_bytes(
    shapes: Mapping[str, tuple[int, ...]], itemsize: int, plan: QuantizationPlan, scheme: str | None = None
) -> int:
    """Return the bytes that a model's tensors take: quantised ones if a kind is given, the others of so many each."""
    total = 0
    for name, shape in shapes.items():
        if scheme is None or not plan.quantizes(name):
            total += itemsize * math.prod(shape)
        elif size := plan.group_size(name, scheme):
            total += math.prod(shape) // 2 + 2 * itemsize * shape[0] * (shape[1] // group_size_for(shape[1], size))
        else:
            total += math.prod(shape) + 4 * shape[0]
    return total
