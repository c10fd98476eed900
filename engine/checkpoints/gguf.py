"""Reading the container of GGUF files: metadata, and where each tensor lies.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. The `gguf` package
is not used: it takes 7 s for a header with 151,936 tokens and as many merges, which takes 0.1 s here.
"""

import math
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine.checkpoints.shards import GGUF_MAGIC
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, reason, short_repr
from engine.quantization.gguf_blocks import BLOCK_TYPES, BlockType

T = TypeVar("T")

ALIGNMENT = 32  # unless the metadata says otherwise
MAX_RANK = 4
MAX_NESTING = 4  # of arrays
MAX_HEADER = 1 << 26  # bytes; those of large vocabularies have 2**23

_STRING, _ARRAY = 8, 9
# their numbers in the format -> their codes in `struct`
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies: its file, type, shape in PyTorch's order, first byte in the file, and number of bytes."""

    file: Path
    type: BlockType
    shape: tuple[int, ...]
    start: int
    bytes: int

    def raw(self) -> Tensor:
        """Return its bytes, (bytes) uint8, mapped from the file: they take no memory of their own.

        The mapping lasts as long as the tensor. Writing to it does not change the file.

        Raises:
            ModelUnavailable: The file can't be read, or has been cut off since it was opened.
        """
        first_page = self.start - self.start % mmap.ALLOCATIONGRANULARITY
        length = self.start - first_page + self.bytes
        try:
            with self.file.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=first_page)
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{self.file}: cannot be read: {reason(error)}") from error
        return torch.frombuffer(mapped, dtype=torch.uint8, offset=self.start - first_page)


@dataclass(frozen=True)
class GgufFile:
    """The header of a file: metadata by key, tensors by name."""

    path: Path
    version: int
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    def text(self, key: str, default: str | None = None) -> str:
        """Return the text of a key; without a default, the key is required.

        Raises:
            ModelUnavailable: The key is missing, or its value of another kind; so for the other kinds below.
        """
        value: str = self._value(key, lambda value: type(value) is str, "text", default)
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """Return the integer of a key, which must not be negative."""
        value: int = self._value(key, lambda value: type(value) is int and value >= 0, "an integer >= 0", default)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return the number of a key: what was written before it was rounded to float32."""
        number = self._value(key, lambda value: type(value) in (int, float), "a number", default)
        return float(str(np.float32(number)))

    def list_of(self, kind: type[T], key: str, default: list[T] | None = None) -> list[T]:
        """Return the list of a key."""
        what = f"a list of {kind.__name__}"
        values: list[T] = self._value(
            key, lambda value: type(value) is list and set(map(type, value)) <= {kind}, what, default
        )
        return values

    def _value(self, key: str, fits: Callable[[Any], bool], kind: str, default: Any) -> Any:
        if key not in self.metadata:
            if default is None:
                raise ModelUnavailable(f"{self.path}: its metadata lack {key}")
            return default
        value = self.metadata[key]
        if not fits(value):
            raise ModelUnavailable(f"{self.path}: its metadata's {key} must be {kind}, not {short_repr(value)}")
        return value


_KEPT: ContextVar[dict[Path, GgufFile] | None] = ContextVar("kept headers", default=None)


@contextmanager
def reading_headers_once() -> Iterator[None]:
    """Keep headers that are read in this context: the parts of a model need the same ones, of some 30 MB each."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def read_gguf(path: Path) -> GgufFile:
    """Read the header of a file, and check that all of its tensors lie within the file.

    Raises:
        ModelUnavailable: The file can't be read, or is not a valid GGUF file; the message names key or tensor.
    """
    kept = _KEPT.get()
    if kept is None:
        return _read(path)
    if path not in kept:
        kept[path] = _read(path)
    return kept[path]


def _read(path: Path) -> GgufFile:
    try:
        if not path.is_file():
            raise ModelUnavailable(f"{path}: no such file")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).file()
    except ModelUnavailable:
        raise
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise ModelUnavailable(f"{path}: not a GGUF file: {reason(error)}") from error


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0
        self.end = min(len(data), MAX_HEADER)
        self.inside = "its header"  # what is being read, for errors

    def file(self) -> GgufFile:
        self._check_magic()
        version, tensors, entries = self._version(), self._number("Q"), self._number("Q")
        self._check_count(entries, 8 + 4 + 1)
        self._check_count(tensors, 8 + 4 + 8 + 4 + 8)
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            self.inside = "its metadata"
            key = self._string()
            if key in metadata:
                raise self._invalid(f"has {quoted_name(key)} twice in its metadata")
            self.inside = f"its metadata's {quoted_name(key)}"
            metadata[key] = self._value(self._number("I"))
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20:
            raise self._invalid(f"its general.alignment is {short_repr(alignment)}")
        return GgufFile(self.path, version, metadata, self._tensors(tensors, alignment))

    def _check_magic(self) -> None:
        magic = self.data[:4]
        if magic != GGUF_MAGIC:
            kind = "big-endian GGUF, which is not supported" if magic == GGUF_MAGIC[::-1] else f"begins with {magic!r}"
            raise self._invalid(f"not a GGUF file: {kind}")
        self.at = 4

    def _version(self) -> int:
        version: int = self._number("I")
        if version not in (2, 3):
            swapped = " (of a big-endian file?)" if version >= 1 << 16 else ""
            raise self._invalid(f"has version {version}{swapped} of the GGUF format; 2 and 3 are supported")
        return version

    def _tensors(self, count: int, alignment: int) -> dict[str, GgufTensor]:
        found: dict[str, tuple[BlockType, tuple[int, ...], int, int]] = {}
        for _ in range(count):
            self.inside = "the list of its tensors"
            name = self._string()
            if name in found:
                raise self._invalid(f"has two tensors {quoted_name(name)}")
            self.inside = f"the entry of {quoted_name(name)}"
            found[name] = self._tensor(name, alignment)
        start = self.at + -self.at % alignment
        self._check_places(found, start)
        return {
            name: GgufTensor(self.path, kind, shape, start + offset, size)
            for name, (kind, shape, offset, size) in found.items()
        }

    def _tensor(self, name: str, alignment: int) -> tuple[BlockType, tuple[int, ...], int, int]:
        rank = self._number("I")
        if not 1 <= rank <= MAX_RANK:
            raise self._invalid(f"{quoted_name(name)} has {rank} dimensions; 1 to {MAX_RANK} are possible")
        sizes = tuple(self._number("Q") for _ in range(rank))
        kind, offset = self._number("I"), self._number("Q")
        if kind not in BLOCK_TYPES:
            raise self._invalid(f"{quoted_name(name)} has the unknown tensor type {kind}")
        block = BLOCK_TYPES[kind]
        if not all(0 < size < 1 << 40 for size in sizes):
            raise self._invalid(f"{quoted_name(name)} has an impossible shape: {list(reversed(sizes))}")
        if sizes[0] % block.weights:
            raise self._invalid(
                f"{quoted_name(name)} has rows of {sizes[0]}, no multiple of {block.weights} ({block.name})"
            )
        if offset % alignment:
            raise self._invalid(f"{quoted_name(name)} is not aligned to {alignment} bytes")
        return block, sizes[::-1], offset, block.row_bytes(math.prod(sizes))

    def _check_places(self, found: Mapping[str, tuple[BlockType, tuple[int, ...], int, int]], start: int) -> None:
        end, before = 0, ""
        for name, (_, _, offset, size) in sorted(found.items(), key=lambda item: item[1][2]):
            if start + offset + size > len(self.data):
                where = "lies beyond the end of the file: it was cut off, or is damaged"
                raise self._invalid(f"{quoted_name(name)} {where}")
            if offset < end:
                raise self._invalid(f"{quoted_name(name)} overlaps {quoted_name(before)}")
            end, before = offset + size, name

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(depth)
        if kind not in _NUMBERS:
            raise self._invalid(f"{self.inside} has the unknown type {kind}")
        return self._number(_NUMBERS[kind])

    def _array(self, depth: int) -> list[Any]:
        if depth == MAX_NESTING:
            raise self._invalid(f"{self.inside} is nested too deeply")
        kind, count = self._number("I"), self._number("Q")
        if kind in _NUMBERS:
            size = struct.calcsize(_NUMBERS[kind])
            self._check_count(count, size)
            begin, self.at = self.at, self.at + count * size
            return list(struct.unpack(f"<{count}{_NUMBERS[kind]}", self.data[begin : self.at]))
        self._check_count(count, 8 if kind == _STRING else 12)
        return self._strings(count) if kind == _STRING else [self._value(kind, depth + 1) for _ in range(count)]

    def _strings(self, count: int) -> list[str]:
        data, at, end = self.data, self.at, self.end
        unpack, texts = struct.Struct("<Q").unpack_from, []
        for _ in range(count):  # inlined: a tokenizer has several hundred thousand
            begin = at + 8
            if begin > end:
                raise self._truncated()
            at = begin + unpack(data, at)[0]
            if at > end:
                raise self._truncated()
            texts.append(data[begin:at])
        self.at = at
        return [self._decoded(text) for text in texts]

    def _string(self) -> str:
        return self._strings(1)[0]

    def _decoded(self, text: bytes) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise self._invalid(f"{self.inside} has text that is not UTF-8") from error

    def _number(self, kind: str) -> Any:
        size = struct.calcsize(kind)
        if self.at + size > self.end:
            raise self._truncated()
        self.at += size
        return struct.unpack_from(f"<{kind}", self.data, self.at - size)[0]

    def _check_count(self, count: int, least_bytes: int) -> None:
        """Refuse a count of things that do not fit into the rest of the file, before memory is allocated for them."""
        if count * least_bytes > self.end - self.at:
            raise self._truncated()

    def _truncated(self) -> ModelUnavailable:
        limit = "ends" if self.end == len(self.data) else f"has its first {MAX_HEADER >> 20} MB filled"
        return self._invalid(f"{limit} within {self.inside}: it was cut off, or is damaged")

    def _invalid(self, problem: str) -> ModelUnavailable:
        return ModelUnavailable(f"{self.path}: {problem}")
