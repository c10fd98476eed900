"""A model's tensors under its family's own names, whatever a checkpoint calls them and however it packs them.

A family gives the names and shapes of its tensors, what stored names mean, and the packings that only its releases
use; what is here finds the tensors, checks all of them before any is read, and reads each when it is asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.checkpoints.packings import INT4, INT8, Packing
from engine.checkpoints.reader import Checkpoint, Shape
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, summarize_faults
from engine.quantization.formats import Matrix


@dataclass(frozen=True)
class TensorLocation:
    """A tensor of the checkpoint, its transpose, or one half (0 or 1) of its rows."""

    name: str
    transposed: bool = False
    half: int | None = None

    def stored_shape(self, wanted: Shape) -> Shape:
        """Return the shape that the stored tensor must have."""
        if self.transposed:
            return wanted[::-1]
        return wanted if self.half is None else (2 * wanted[0], *wanted[1:])

    def extract(self, stored: Tensor) -> Tensor:
        """Return what is meant of the stored tensor."""
        if self.transposed:
            return stored.T.contiguous()
        return stored if self.half is None else stored.chunk(2)[self.half].clone()


@dataclass(frozen=True)
class TensorMap:
    """A `TensorSource` of the checked tensors of a checkpoint.

    places: family's name -> where it lies, the parts of matrices in few bits ("….weight.nibbles") by their own.
    shapes: of all tensors, a matrix in few bits under its own name.
    """

    checkpoint: Checkpoint
    locations: Mapping[str, TensorLocation]
    shapes: Mapping[str, Shape]
    packings: tuple[Packing, ...]

    def has(self, name: str) -> bool:
        return name in self.shapes or name in self.locations

    def dtype(self, name: str) -> torch.dtype:
        """Return what the tensor is stored in; for one in few bits, float32."""
        return self.checkpoint.dtype(self.locations[name].name) if name in self.locations else torch.float32

    def packing(self, name: str) -> Packing | None:
        """Return how the matrix of this name is packed; None if it isn't."""
        return next((packing for packing in self.packings if f"{name}.{packing.key_suffix}" in self.locations), None)

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """Read the tensor into memory of its own; one in few bits is dequantised in the arithmetic of dtype."""
        stored = self.matrix(name, dtype, device)
        return stored if isinstance(stored, Tensor) else stored.dequantize(dtype)

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        if name in self.locations:
            location = self.locations[name]
            return location.extract(self.checkpoint.read(location.name, dtype, device))
        packing = self.packing(name)
        if packing is None:
            raise ModelUnavailable(f"{self.checkpoint.path}: has no tensor {quoted_name(name)}")
        parts = {
            part: self.checkpoint.read(self.locations[f"{name}.{part}"].name, None, device) for part in packing.dtypes
        }
        return packing.matrix(parts, self.shapes[name], dtype)


def locate_tensors(
    checkpoint: Checkpoint, rename: Callable[[str], Iterable[tuple[str, TensorLocation]]]
) -> dict[str, TensorLocation]:
    """Find where each tensor lies; names and shapes are not checked yet.

    Args:
        rename: stored name -> the family's name and the place. Several, if the stored tensor holds several; none, if
            it is to be ignored.

    Raises:
        ModelUnavailable: two stored tensors are the same one.
    """
    locations: dict[str, TensorLocation] = {}
    for stored in checkpoint.names:
        for name, location in rename(stored):
            if name in locations:
                twice = f"{quoted_name(locations[name].name)} and {quoted_name(stored)}"
                raise ModelUnavailable(f"{checkpoint.path}: {twice} are the same tensor, {quoted_name(name)}")
            locations[name] = location
    return locations


def map_tensors(
    checkpoint: Checkpoint,
    locations: Mapping[str, TensorLocation],
    shapes: Mapping[str, Shape],
    packings: tuple[Packing, ...] = (),
) -> TensorMap:
    """Check a checkpoint's tensors against those that a model needs.

    Args:
        places: from `locate_tensors`.
        shapes: of every tensor that the model needs.
        packings: that matrices may have besides `INT4` and `INT8`.

    Raises:
        ModelUnavailable: tensors are missing, unknown or of another shape or type; in one line.
    """
    mapped = TensorMap(checkpoint, locations, shapes, (*packings, INT4, INT8))
    wanted: dict[str, tuple[Shape, torch.dtype | None]] = {}
    for name, shape in shapes.items():
        packing = mapped.packing(name) if len(shape) == 2 else None
        if packing is None:
            wanted[name] = shape, None
        else:
            parts = _part_shapes(mapped, name, packing)
            wanted |= {f"{name}.{part}": (parts[part], dtype) for part, dtype in packing.dtypes.items()}
    _check(checkpoint, locations, wanted)
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
    checkpoint: Checkpoint,
    locations: Mapping[str, TensorLocation],
    wanted: Mapping[str, tuple[Shape, torch.dtype | None]],
) -> None:
    """wanted: name -> shape, and type; None: any float type."""
    misshapen, mistyped = [], []
    for name, (shape, dtype) in wanted.items():
        if name not in locations:
            continue
        location = locations[name]
        found, stored_in = checkpoint.shape(location.name), checkpoint.dtype(location.name)
        if found != location.stored_shape(shape):
            misshapen.append(f"{name} is {list(found)}, not {list(location.stored_shape(shape))}")
        if not (stored_in == dtype if dtype else stored_in.is_floating_point):
            mistyped.append(f"{name} is {str(stored_in).removeprefix('torch.')}")
    faults = {
        "missing": [name for name in wanted if name not in locations],
        "unknown": [quoted_name(locations[name].name) for name in locations if name not in wanted],
        "of another shape": misshapen,
        "of another type": mistyped,
    }
    if any(faults.values()):
        raise ModelUnavailable(f"{checkpoint.path}: does not fit the model's config; {summarize_faults(faults)}")
