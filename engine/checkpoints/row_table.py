"""Rows of a matrix read from a safetensors file when they are looked up, so that the matrix takes no memory.

The file is read, not mapped: one that is cut off later gives an error, where a mapping would end the process by SIGBUS.
Its descriptor stays open, so that a file may be deleted, or replaced by another one of its name.
"""

import json
import math
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, reason

MAX_HEADER = 100_000_000  # bytes, the format's limit


@dataclass(frozen=True, eq=False)
class FileRows:
    """A tensor in a file that is open; see `RowTable`.

    Attributes:
        path: Of the file, for errors.
        descriptor: Of the file; closed when this object is no longer used.
        version: Of the file when it was opened.
        start: First byte of the tensor in the file.
        shape: Of the tensor, rows first.
        dtype: That it is stored in.
    """

    path: Path
    descriptor: int
    version: tuple[int, int]
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    is_quantized = False

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, which: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return rows, (len(which), ...).

        Raises:
            ModelUnavailable: The file has been changed since it was opened, or can't be read.
        """
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        try:
            found = {row: self._read(row, size) for row in dict.fromkeys(which)}
            changed = _version(self.descriptor) != self.version  # after reading, so that a change meanwhile is noticed
        except OSError as error:
            raise ModelUnavailable(f"{self.path}: cannot be read: {reason(error)}") from error
        data = bytearray().join([found[row] for row in which])
        if changed or len(data) != len(which) * size:
            raise ModelUnavailable(
                f"{self.path}: was changed or cut off after it was loaded: load the model again, or get it again"
            )
        return torch.frombuffer(data, dtype=self.dtype).view(len(which), *self.shape[1:]).to(dtype)

    def _read(self, row: int, size: int) -> bytes:
        if not 0 <= row < self.shape[0]:
            raise IndexError(f"there is no row {row} of {self.shape[0]}")
        return os.pread(self.descriptor, size, self.start + row * size)


def open_rows(path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> FileRows | None:
    """Open a tensor in a safetensors file whose header has been checked.

    Args:
        path: The file.
        name: Of the tensor.
        shape: Of the tensor.
        dtype: That it is stored in.

    Returns:
        The rows; None: this system can't read at a place of a file (Windows).

    Raises:
        ModelUnavailable: The file can't be read, or has changed.
    """
    if not hasattr(os, "pread"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read: {reason(error)}") from error
    try:
        length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
        entry = json.loads(os.pread(descriptor, min(length, MAX_HEADER), 8))[name]
        version = _version(descriptor)
        begin, end = entry["data_offsets"]
        rows = FileRows(path, descriptor, version, 8 + length + begin, shape, dtype)
        if tuple(entry["shape"]) != shape or end - begin != rows.nbytes:
            raise ValueError("another shape")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        os.close(descriptor)
        raise ModelUnavailable(f"{path}: changed while reading {quoted_name(name)}") from error
    weakref.finalize(rows, os.close, descriptor).atexit = False  # threads may still read then
    return rows


def _version(descriptor: int) -> tuple[int, int]:
    """Return what tells whether a file was written to: its size, and when it was last modified."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
