"""Tensors of a checkpoint on disk: one safetensors file, or shards with an index, as the hub's releases have them.

Format: https://github.com/huggingface/safetensors. Nothing in a file is executed, and nothing is read before it is
asked for, so that a broken file costs no memory.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from engine.contract import ModelUnavailable

INDEX = "model.safetensors.index.json"

_DTYPES = {
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


@dataclass(frozen=True)
class Entry:
    """A tensor of the checkpoint, and the file that holds it."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds. The file's pages stay in memory only while a tensor is being read."""

    path: Path
    entries: Mapping[str, Entry]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tensors, in file order."""
        return tuple(self.entries)

    def shape(self, name: str) -> tuple[int, ...]:
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
                    raise ModelUnavailable(f"{entry.file}: changed while it was read: {shown(name)} has another shape")
                return stored.to(device, dtype or entry.dtype, copy=True)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelUnavailable(f"{entry.file}: cannot read {shown(name)}: {_reason(error)}") from error

    def _entry(self, name: str) -> Entry:
        if name not in self.entries:
            raise ModelUnavailable(f"{self.path}: has no tensor {shown(name)}")
        return self.entries[name]


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file, in shards with an index (.json), or in a folder with either.

    Every header is checked at once. ModelUnavailable for anything missing or broken, with the file and the tensor.
    """
    file = _in_folder(path) if path.is_dir() else path
    return Checkpoint(path, _shards(file) if file.suffix == ".json" else _header(file))


def _in_folder(folder: Path) -> Path:
    for name in (INDEX, "model.safetensors"):
        if (folder / name).exists():
            return folder / name
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        count = "more than one" if found else "no"
        raise ModelUnavailable(f"{folder}: holds {count} .safetensors file, and neither {INDEX} nor model.safetensors")
    return found[0]


def shown(name: str) -> str:
    """A name out of a file, made fit for one line of an error."""
    return repr(name if len(name) <= 100 else name[:97] + "...")


def _header(path: Path) -> dict[str, Entry]:
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
                if kind not in _DTYPES:
                    raise ModelUnavailable(f"{path}: {shown(name)} has the unknown type {kind}")
                if any(size >= 2**63 for size in shape):  # the format allows it beside a 0
                    raise ModelUnavailable(f"{path}: {shown(name)} has an impossible shape")
                entries[name] = Entry(path, shape, _DTYPES[kind])
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelUnavailable(f"{path}: is not a sound safetensors file: {_reason(error)}") from error
    return entries


def _shards(index: Path) -> dict[str, Entry]:
    places = _weight_map(index)
    entries: dict[str, Entry] = {}
    for shard in dict.fromkeys(places.values()):
        if not re.fullmatch(r"[\w. -]+", shard):
            raise ModelUnavailable(f"{index}: {shown(shard)} is not the name of a file in its folder")
        held = _header(index.parent / shard)
        for name, entry in held.items():
            if name in entries:
                both = f"{entries[name].file.name} and {shard}"
                raise ModelUnavailable(f"{index}: {shown(name)} is in two shards: {both}")
            entries[name] = entry
    for name, shard in places.items():
        if name not in entries or entries[name].file.name != shard:
            raise ModelUnavailable(f"{index.parent / shard}: lacks {shown(name)}, which {index.name} places there")
    return entries


def _weight_map(index: Path) -> dict[str, str]:
    try:
        data: Any = json.loads(index.read_bytes())
    except OSError as error:
        raise ModelUnavailable(f"{index}: cannot be read: {_reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{index}: is not JSON") from error
    places = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ModelUnavailable(f"{index}: its weight_map must be an object of tensor names and file names")
    return places


def _reason(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else line[:197] + "..."
