"""The length that a video file states of itself in its header: a shorter file is truncated."""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

HEAD = 4096  # bytes that hold what states the length; a RIFF file also states it in later chunks

_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d01020101")


def is_truncated(path: Path) -> bool:
    """Return whether a file is shorter than its header states; False if it doesn't state a length."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        length = file.seek(0, 2)
        stated = max((end for read in _FORMATS if (end := read(head, file)) is not None), default=0)
    return stated > length


def _matroska_end(head: bytes, _: BinaryIO) -> int | None:
    """Return where the segment of a Matroska or WebM file ends (RFC 8794, RFC 9559)."""
    header = _element(head, 0, _EBML)
    segment = _element(head, sum(header), _SEGMENT) if header else None
    return sum(segment) if segment else None


def _element(data: bytes, at: int, kind: bytes) -> tuple[int, int] | None:
    """Return where the content of an element starts, and its size; None for another element or an unknown size."""
    at += len(kind)
    if data[at - len(kind) : at] != kind or not (first := data[at : at + 1]) or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    is_unknown = size == (1 << 7 * width) - 1
    return None if is_unknown else (at + width, size)


def _avi_end(head: bytes, file: BinaryIO) -> int | None:
    """Return where the last RIFF chunk of an AVI file ends (Microsoft's AVI RIFF file reference; OpenDML 1.02)."""
    end, chunk = None, head[:12]
    while chunk[:4] == b"RIFF" and chunk[8:] in (b"AVI ", b"AVIX"):
        size = int.from_bytes(chunk[4:8], "little")
        if size in (0, 0xFFFFFFFF):  # of a recording that was not finished
            return end
        end = (end or 0) + 8 + size
        file.seek(end)
        chunk = file.read(12)
    return end


def _flv_end(head: bytes, _: BinaryIO) -> int | None:
    """Return the `filesize` in the onMetaData of an FLV file (Adobe Flash Video file format 10.1, annex E.5)."""
    key = b"\x00\x08filesize\x00"  # and a number, a big-endian double
    at = head.find(key) + len(key)
    if head[:3] != b"FLV" or at < len(key) or len(head) < at + 8:
        return None
    (size,) = struct.unpack_from(">d", head, at)
    return int(size) if math.isfinite(size) else None


def _asf_end(head: bytes, _: BinaryIO) -> int | None:
    """Return the file size in the header of an ASF, WMV or WMA file (Microsoft's ASF specification, 3.2)."""
    at = head.find(_ASF_FILE_PROPERTIES)
    if head[:16] != _ASF_HEADER or at < 0 or len(head) < at + 92:
        return None
    (size,) = struct.unpack_from("<Q", head, at + 40)
    (flags,) = struct.unpack_from("<I", head, at + 88)
    return None if flags & _ASF_BROADCAST else int(size)


def _mxf_end(head: bytes, _: BinaryIO) -> int | None:
    """Return where the footer of an MXF file starts, at least, as its header partition states (SMPTE ST 377-1, 7.1)."""
    if head[:13] != _MXF_PARTITION or len(head) < 25:
        return None
    content = 17 + (head[16] & 0x7F if head[16] & 0x80 else 0)  # behind the key and the length in BER
    if len(head) < content + 32:
        return None
    (footer,) = struct.unpack_from(">Q", head, content + 24)
    return int(footer) + 1 if footer else None


_FORMATS: tuple[Callable[[bytes, BinaryIO], int | None], ...] = (
    _matroska_end,
    _avi_end,
    _flv_end,
    _asf_end,
    _mxf_end,
)
