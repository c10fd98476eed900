"""Writes GGUF files of any content, right or wrong."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(kind: int, content: Any) -> bytes:
    """A metadata value; an array's content is (type of its elements, elements)."""
    if kind == STRING:
        return string(content)
    if kind == ARRAY:
        inner, elements = content
        return struct.pack("<IQ", inner, len(elements)) + b"".join(value(inner, element) for element in elements)
    return struct.pack(f"<{_FORMATS[kind]}", content)


@dataclass
class File:
    """The parts of a file. Tensors: name, shape in PyTorch's order, type, data; offsets follow from the data."""

    metadata: dict[str, tuple[int, Any]] = field(default_factory=dict)
    tensors: Sequence[tuple[str, tuple[int, ...], int, bytes]] = ()
    version: int = 3
    magic: bytes = b"GGUF"
    alignment: int = 32
    offsets: Sequence[int] | None = None

    def bytes(self) -> bytes:
        out = self.magic + struct.pack("<IQQ", self.version, len(self.tensors), len(self.metadata))
        for key, (kind, content) in self.metadata.items():
            out += string(key) + struct.pack("<I", kind) + value(kind, content)
        data = b""
        for i, (name, shape, kind, content) in enumerate(self.tensors):
            data += bytes(-len(data) % self.alignment)
            offset = len(data) if self.offsets is None else self.offsets[i]
            sizes = struct.pack(f"<{len(shape)}Q", *reversed(shape))
            out += string(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)
            data += content
        return out + bytes(-len(out) % self.alignment) + data

    def write(self, path: Path) -> Path:
        path.write_bytes(self.bytes())
        return path
