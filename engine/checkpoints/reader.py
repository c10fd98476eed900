"""Tensors of a checkpoint on disk: one safetensors file, or shards with an index, as the hub's releases have them.

Format: https://github.com/huggingface/safetensors. Nothing in a file is executed, and nothing is read before it is
asked for, so that a broken file costs no memory.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from engine.checkpoints.shards import weight_map
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, reason

DTYPES = {  # by their codes in the format
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
    """A tensor of the checkpoint, and the file that holds it."""

    file: Path
    shape: Shape
    dtype: torch.dtype


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds. The file's pages stay in memory only while a tensor is being read."""

    path: Path
    entries: Mapping[str, TensorEntry]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tensors, in file order."""
        return tuple(self.entries)

    def shape(self, name: str) -> Shape:
        return self._entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        return self._entry(name).dtype

    def read(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> torch.Tensor:
        """The tensor in memory of its own; dtype None: as it is stored. ModelUnavailable if the file changed."""
        entry = self._entry(name)
        # A mapping of its own: the pages of one that stays open would add up to the whole file.
        try:
            with safe_open(entry.file, framework="pt") as file:
                stored = file.get_tensor(name)
                if tuple(stored.shape) != entry.shape:
                    raise ModelUnavailable(
                        f"{entry.file}: changed while it was read: {quoted_name(name)} has another shape"
                    )
                return stored.to(device, dtype or entry.dtype, copy=True)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelUnavailable(f"{entry.file}: cannot read {quoted_name(name)}: {reason(error)}") from error

    def _entry(self, name: str) -> TensorEntry:
        if name not in self.entries:
            raise ModelUnavailable(f"{self.path}: has no tensor {quoted_name(name)}")
        return self.entries[name]


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file, or in shards with an index (.json).

    Every header is checked at once. ModelUnavailable for anything missing or broken, with the file and the tensor.
    """
    return Checkpoint(path, _shards(path) if path.suffix == ".json" else _header(path))


def _header(path: Path) -> dict[str, TensorEntry]:
    if not os.path.exists(path):
        raise ModelUnavailable(f"{path}: no such file")
    if not os.path.isfile(path):
        raise ModelUnavailable(f"{path}: is not a file")  # a pipe would wait for ever
    entries = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.offset_keys():
                stored = file.get_slice(name)
                kind, shape = stored.get_dtype(), tuple(stored.get_shape())
                if kind not in DTYPES:
                    raise ModelUnavailable(f"{path}: {quoted_name(name)} has the unknown type {kind}")
                if any(size >= 2**63 for size in shape):  # the format allows it beside a 0
                    raise ModelUnavailable(f"{path}: {quoted_name(name)} has an impossible shape")
                entries[name] = TensorEntry(path, shape, DTYPES[kind])
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelUnavailable(f"{path}: is not a sound safetensors file: {reason(error)}") from error
    return entries


def _shards(index: Path) -> dict[str, TensorEntry]:
    places = weight_map(index)
    entries: dict[str, TensorEntry] = {}
    for shard in dict.fromkeys(places.values()):
        for name, entry in _header(index.parent / shard).items():
            if name in entries:
                both = f"{entries[name].file.name} and {shard}"
                raise ModelUnavailable(f"{index}: {quoted_name(name)} is in two shards: {both}")
            entries[name] = entry
    for name, shard in places.items():
        if name not in entries or entries[name].file.name != shard:
            raise ModelUnavailable(
                f"{index.parent / shard}: lacks {quoted_name(name)}, which {index.name} places there"
            )
    return entries
