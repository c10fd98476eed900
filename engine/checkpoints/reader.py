"""Reading checkpoints: a safetensors file, or shards with an index, as in releases on the Hugging Face hub.

Format: https://github.com/huggingface/safetensors. No code in a file is executed. Tensors are read on demand, so that a
damaged file costs no memory.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from engine.checkpoints.row_table import FileRows, open_rows
from engine.checkpoints.shards import weight_map
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, reason

DTYPES = {  # by their names in the format
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorEntry:
    """The file, shape and dtype of a tensor."""

    file: Path
    shape: Shape
    dtype: torch.dtype


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint by name. A file is mapped into memory only while one of its tensors is read."""

    path: Path
    entries: Mapping[str, TensorEntry]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors, in file order."""
        return tuple(self.entries)

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor."""
        return self._entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype that a tensor is stored in."""
        return self._entry(name).dtype

    def read(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return a copy of a tensor; dtype None: as stored.

        Raises:
            ModelUnavailable: There is no such tensor, or the file has changed or can't be read.
        """
        entry = self._entry(name)
        # Mapped anew for each tensor: the pages of a permanent mapping would add up to the whole file.
        try:
            with safe_open(entry.file, framework="pt") as file:
                stored: torch.Tensor = file.get_tensor(name)
                if tuple(stored.shape) != entry.shape:
                    raise ModelUnavailable(
                        f"{entry.file}: changed while reading: {quoted_name(name)} has another shape"
                    )
                return stored.to(device, dtype or entry.dtype, copy=True)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelUnavailable(f"{entry.file}: cannot read {quoted_name(name)}: {reason(error)}") from error

    matrix = read  # safetensors have no blocks

    def row_table(self, name: str) -> FileRows | None:
        """Return a tensor whose rows are read at each lookup; see `open_rows`, also for the errors."""
        entry = self._entry(name)
        return open_rows(entry.file, name, entry.shape, entry.dtype)

    def summary(self, dtype: torch.dtype) -> tuple[str, ...]:
        """Return no lines: there is nothing to tell about the format."""
        return ()

    def _entry(self, name: str) -> TensorEntry:
        if name not in self.entries:
            raise ModelUnavailable(f"{self.path}: has no tensor {quoted_name(name)}")
        return self.entries[name]


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint and check the headers of all its files.

    Args:
        path: A safetensors file, or the index of shards (.json).

    Raises:
        ModelUnavailable: Something is missing or damaged; the message names file and tensor.
    """
    return Checkpoint(path, _shards(path) if path.suffix == ".json" else _header(path))


def _header(path: Path) -> dict[str, TensorEntry]:
    if not os.path.exists(path):
        raise ModelUnavailable(f"{path}: no such file")
    if not os.path.isfile(path):
        raise ModelUnavailable(f"{path}: not a file")  # opening a pipe would block
    entries = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.offset_keys():
                stored = file.get_slice(name)
                kind, shape = stored.get_dtype(), tuple(stored.get_shape())
                if kind not in DTYPES:
                    raise ModelUnavailable(f"{path}: {quoted_name(name)} has the unknown type {kind}")
                if any(size >= 2**63 for size in shape):  # the format allows it next to a 0
                    raise ModelUnavailable(f"{path}: {quoted_name(name)} has an impossible shape")
                entries[name] = TensorEntry(path, shape, DTYPES[kind])
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelUnavailable(f"{path}: not a valid safetensors file: {reason(error)}") from error
    return entries


def _shards(index: Path) -> dict[str, TensorEntry]:
    shard_of = weight_map(index)
    entries: dict[str, TensorEntry] = {}
    for shard in dict.fromkeys(shard_of.values()):
        for name, entry in _header(index.parent / shard).items():
            if name in entries:
                both = f"{entries[name].file.name} and {shard}"
                raise ModelUnavailable(f"{index}: {quoted_name(name)} is in two shards: {both}")
            entries[name] = entry
    for name, shard in shard_of.items():
        if name not in entries or entries[name].file.name != shard:
            raise ModelUnavailable(
                f"{index.parent / shard}: lacks {quoted_name(name)}, which {index.name} places there"
            )
    return entries
