"""Mapping of a checkpoint's tensors to a model family's canonical names, layouts and packings.

A family gives the names and shapes of its tensors, the meaning of stored names, and the packings of its own releases.
This module locates the tensors, validates all of them before reading any, and reads each on demand.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from engine.checkpoints.packings import INT4, INT8, PackedRows, Packing
from engine.checkpoints.reader import Shape
from engine.checkpoints.row_table import FileRows
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, summarize_faults
from engine.quantization.formats import Matrix
from engine.quantization.row_table import RowTable


class StoredTensors(Protocol):
    """The tensors of a checkpoint by the names of the family's safetensors releases, in a file of any format."""

    @property
    def path(self) -> Path:
        """The file that errors name."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor."""

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype that a tensor is stored in; float32 if it is quantised in blocks."""

    def read(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Return a copy of a tensor, dequantised; dtype None: as stored."""

    def summary(self, dtype: torch.dtype) -> tuple[str, ...]:
        """Return lines for people on a format that a model must tell about, when it computes in this dtype."""

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """Return a matrix in the blocks that it is stored in, or else a copy as `read` does."""

    def row_table(self, name: str) -> FileRows | None:
        """Return a tensor whose rows are read at each lookup; None where that can't be done."""


@dataclass(frozen=True)
class TensorLocation:
    """Where a model's tensor is stored: a tensor of the checkpoint, its transpose, or one half (0 or 1) of its rows."""

    name: str
    transposed: bool = False
    half: int | None = None

    def stored_shape(self, shape: Shape) -> Shape:
        """Return the shape that the stored tensor must have for the model's tensor to have this one."""
        if self.transposed:
            return shape[::-1]
        return shape if self.half is None else (2 * shape[0], *shape[1:])

    def extract(self, stored: Tensor) -> Tensor:
        """Return the model's tensor from the stored one."""
        if self.transposed:
            return stored.T.contiguous()
        return stored if self.half is None else stored.chunk(2)[self.half].clone()


@dataclass(frozen=True)
class TensorMap:
    """A `TensorSource` over the validated tensors of a checkpoint.

    Attributes:
        checkpoint: That is read.
        locations: Canonical name -> location; parts of quantised matrices by their own names ("….weight.nibbles").
        shapes: Canonical name -> shape; quantised matrices by the name of the matrix.
        packings: That matrices may have.
    """

    checkpoint: StoredTensors
    locations: Mapping[str, TensorLocation]
    shapes: Mapping[str, Shape]
    packings: tuple[Packing, ...]

    def has(self, name: str) -> bool:
        """Return whether there is a tensor of this name."""
        return name in self.shapes or name in self.locations

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype that a tensor is stored in; float32 for a quantised one."""
        return self.checkpoint.dtype(self.locations[name].name) if name in self.locations else torch.float32

    def packing(self, name: str) -> Packing | None:
        """Return the packing of a matrix; None if it is not quantised."""
        return next((packing for packing in self.packings if f"{name}.{packing.key_suffix}" in self.locations), None)

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """Read a copy of a tensor; a quantised one is dequantised in this dtype."""
        if name in self.locations:
            location = self.locations[name]
            return location.extract(self.checkpoint.read(location.name, dtype, device))
        stored = self.matrix(name, dtype, device)
        return stored if isinstance(stored, Tensor) else stored.dequantize(dtype)

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """Read a copy of a matrix, quantised if it is stored so."""
        if name in self.locations:
            location = self.locations[name]
            if location == TensorLocation(location.name):
                return self.checkpoint.matrix(location.name, dtype, device)
            return location.extract(self.checkpoint.read(location.name, dtype, device))
        packing = self.packing(name)
        if packing is None:
            raise ModelUnavailable(f"{self.checkpoint.path}: has no tensor {quoted_name(name)}")
        parts = {
            part: self.checkpoint.read(self.locations[f"{name}.{part}"].name, None, device) for part in packing.dtypes
        }
        return packing.matrix(parts, self.shapes[name], dtype)

    def row_table(self, name: str) -> RowTable | None:
        """Return a matrix whose rows are read at each lookup; None if they don't lie in one piece each."""
        packing = self.packing(name)
        if packing is None:
            return self._stored_rows(name)
        if packing not in (INT4, INT8):
            return None
        parts = {part: rows for part in packing.dtypes if (rows := self._stored_rows(f"{name}.{part}"))}
        return PackedRows(packing, parts, self.shapes[name]) if len(parts) == len(packing.dtypes) else None

    def _stored_rows(self, name: str) -> FileRows | None:
        location = self.locations.get(name)
        if location is None or location != TensorLocation(location.name):
            return None
        return self.checkpoint.row_table(location.name)


def locate_tensors(
    checkpoint: StoredTensors, rename: Callable[[str], Iterable[tuple[str, TensorLocation]]]
) -> dict[str, TensorLocation]:
    """Locate each tensor, without checking names and shapes.

    Args:
        checkpoint: To be read.
        rename: Stored name -> (canonical name, location) of each tensor that the stored one contains; none if it is to
            be ignored.

    Returns:
        Canonical name -> location.

    Raises:
        ModelUnavailable: Two stored tensors have the same canonical name.
    """
    locations: dict[str, TensorLocation] = {}
    for stored in checkpoint.names:
        for name, location in rename(stored):
            if name in locations:
                both = f"{quoted_name(locations[name].name)} and {quoted_name(stored)}"
                raise ModelUnavailable(f"{checkpoint.path}: {both} are the same tensor, {quoted_name(name)}")
            locations[name] = location
    return locations


def map_tensors(
    checkpoint: StoredTensors,
    locations: Mapping[str, TensorLocation],
    shapes: Mapping[str, Shape],
    packings: tuple[Packing, ...] = (),
) -> TensorMap:
    """Validate a checkpoint's tensors against those that a model needs.

    Args:
        checkpoint: To be read.
        locations: From `locate_tensors`.
        shapes: Canonical name -> shape of every tensor that the model needs.
        packings: That matrices may have in addition to `INT4` and `INT8`.

    Raises:
        ModelUnavailable: Tensors are missing, unknown or of another shape or dtype.
    """
    mapped = TensorMap(checkpoint, locations, shapes, (*packings, INT4, INT8))
    required: dict[str, tuple[Shape, torch.dtype | None]] = {}
    for name, shape in shapes.items():
        packing = mapped.packing(name) if len(shape) == 2 else None
        if packing is None:
            required[name] = shape, None
        else:
            parts = _part_shapes(mapped, name, packing)
            required |= {f"{name}.{part}": (parts[part], dtype) for part, dtype in packing.dtypes.items()}
    _check(checkpoint, locations, required)
    return mapped


def _part_shapes(mapped: TensorMap, name: str, packing: Packing) -> Mapping[str, Shape]:
    stored = {
        part: mapped.checkpoint.shape(mapped.locations[f"{name}.{part}"].name)
        for part in packing.dtypes
        if f"{name}.{part}" in mapped.locations
    }
    try:
        return packing.shapes(mapped.shapes[name], stored)
    except ValueError as error:
        raise ModelUnavailable(f"{mapped.checkpoint.path}: {error}") from error


def _check(
    checkpoint: StoredTensors,
    locations: Mapping[str, TensorLocation],
    required: Mapping[str, tuple[Shape, torch.dtype | None]],
) -> None:
    """Check the tensors by `required`: name -> shape and dtype; None: any floating-point dtype."""
    misshapen, mistyped = [], []
    for name, (shape, dtype) in required.items():
        if name not in locations:
            continue
        location = locations[name]
        found, stored_in = checkpoint.shape(location.name), checkpoint.dtype(location.name)
        if found != location.stored_shape(shape):
            misshapen.append(f"{name} is {list(found)}, not {list(location.stored_shape(shape))}")
        if not (stored_in == dtype if dtype else stored_in.is_floating_point):
            mistyped.append(f"{name} is {str(stored_in).removeprefix('torch.')}")
    faults = {
        "missing": [name for name in required if name not in locations],
        "unknown": [quoted_name(locations[name].name) for name in locations if name not in required],
        "of another shape": misshapen,
        "of another dtype": mistyped,
    }
    if any(faults.values()):
        raise ModelUnavailable(f"{checkpoint.path}: does not fit the model's config; {summarize_faults(faults)}")
