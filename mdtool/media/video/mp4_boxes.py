"""Boxes of a written MP4 or QuickTime file (ISO/IEC 14496-12) that are changed in place."""

import struct
from collections.abc import Iterator
from pathlib import Path

_CONTAINERS = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8}  # and bytes before the first box
_SAMPLE_ENTRY = 78  # bytes of a VisualSampleEntry before its boxes


def free_boxes(path: Path, kind: bytes) -> None:
    """Turn the boxes of a kind in the descriptions of video tracks into free space, which readers skip.

    Args:
        path: The file.
        kind: Type of the boxes, such as b"vexu".

    Raises:
        OSError: The file can't be changed.
    """
    with path.open("r+b") as file:
        start = 0
        while len(head := file.read(16)) >= 8:
            size, name = struct.unpack_from(">I4s", head)
            if size == 1 and len(head) == 16:
                size = int.from_bytes(head[8:], "big")
            if name == b"moov":
                file.seek(start)
                offsets = list(_find(file.read(size), kind, 0, size))
                for offset in offsets:
                    file.seek(start + offset + 4)
                    file.write(b"free")
            if size < 8:  # up to the end of the file
                return
            start += size
            file.seek(start)


def _find(data: bytes, kind: bytes, start: int, end: int, *, in_entries: bool = False) -> Iterator[int]:
    """Yield the offsets of boxes of a kind among the boxes between two offsets, and in containers among these."""
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            return
        if name == kind:
            yield start
        elif name in _CONTAINERS:
            yield from _find(data, kind, start + 8 + _CONTAINERS[name], start + size, in_entries=name == b"stsd")
        elif in_entries:
            yield from _find(data, kind, start + 8 + _SAMPLE_ENTRY, start + size)
        start += size
