"""Boxes of an MP4 or QuickTime file (ISO/IEC 14496-12): the outermost, and those that are changed in place."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CONTAINERS = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8}  # and bytes before the first box
_SAMPLE_ENTRY = 78  # bytes of a VisualSampleEntry before its boxes
_MAX_BOXES = 1_000_000  # a day in fragments has fewer; a file made of empty boxes would take minutes


def outer_boxes(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield the offset, size and type of each outermost box; a size below 8 has no end, and ends the walk.

    Args:
        file: It is sought to each header, so may be read and written meanwhile.

    Yields:
        Offset, size and type. A box whose 64-bit size is cut off has 16 bytes, those of its header.
    """
    start, length = 0, file.seek(0, 2)
    for _ in range(_MAX_BOXES):
        if start >= length:  # a size may be larger than what can be sought
            return
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1:
            size = int.from_bytes(head[8:], "big") if len(head) == 16 else 16
        yield start, size, kind
        if size < 8:
            return
        start += size


def free_boxes(path: Path, kind: bytes) -> None:
    """Turn the boxes of a kind in the descriptions of video tracks into free space, which readers skip.

    Args:
        path: The file.
        kind: Type of the boxes, such as b"vexu".

    Raises:
        OSError: The file can't be changed.
    """
    with path.open("r+b") as file:
        for start, size, name in outer_boxes(file):
            if name == b"moov":
                file.seek(start)
                offsets = list(_find(file.read(size), kind, 0, size))
                for offset in offsets:
                    file.seek(start + offset + 4)
                    file.write(b"free")


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
