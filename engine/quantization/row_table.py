"""Matrices whose rows are looked up by number, such as token embeddings, and which need not be in memory for that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.quantization.formats import rounded_to_int8


class RowTable(Protocol):
    """A matrix in a file, of which rows are read at each lookup."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns)."""

    @property
    def nbytes(self) -> int:
        """Size in the file."""

    @property
    def is_quantized(self) -> bool:
        """Whether the table is quantised."""

    def rows(self, which: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return rows, (len(which), columns), dequantised if they are stored quantised."""


@dataclass(frozen=True)
class Int8Rows:
    """A `RowTable` with the values that another one, unquantised, has after quantisation to int8, row by row."""

    table: RowTable
    is_quantized = True

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns)."""
        return self.table.shape

    @property
    def nbytes(self) -> int:
        """Size in the file, unquantised."""
        return self.table.nbytes

    def rows(self, which: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return rows, quantised and dequantised."""
        return rounded_to_int8(self.table.rows(which, dtype), dtype)
