"""The length that a video file states of itself in its headers: a shorter file is truncated."""

import math
import struct
from collections.abc import Callable
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import BinaryIO

from mdtool.media.files.pipe import HEAD_BYTES, PipeReader
from mdtool.media.video.mp4_boxes import outer_boxes

_CHUNK_BYTES = 1 << 20
_MAX_CHUNKS = 1000  # an AVI has about five; a file made of empty ones would take minutes

_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the largest
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d01020101")


def is_truncated(source: Path | BinaryIO | PipeReader) -> bool:
    """Return whether a video is shorter than its headers state; False if they don't state a length.

    Of a pipe, and of a remote file, only what its first HEAD_BYTES state is known.

    Args:
        source: A file; a file object, whose position stays; or a pipe, which is read on up to the length it states.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return is_truncated(file)
    if isinstance(source, PipeReader):
        # a demuxer stops at the last packet, and boxes or an index may follow it
        end = _stated_end(source.head, BytesIO(source.head), source.length)
        while source.length < end and source.read(_CHUNK_BYTES):
            pass
        return _stated_end(source.head, BytesIO(source.head), source.length) > source.length
    position = source.tell()
    length = source.seek(0, 2)
    source.seek(0)
    head = source.read(HEAD_BYTES)
    # each place that is sought in a remote file costs a request
    end = _stated_end(head, source if isinstance(source, BufferedIOBase) else BytesIO(head), length)
    source.seek(position)
    return end > length


def _stated_end(head: bytes, file: BinaryIO, length: int) -> int:
    """Return where a file must end at least; 0 if that is not known.

    Args:
        head: Its first bytes.
        file: As much of it as can be sought.
        length: Its length.
    """
    return max((end for read in _FORMATS if (end := read(head, file, length)) is not None), default=0)


# Types of the outermost boxes of MP4 and QuickTime files. What cameras append may look like a box of another type.
_MP4_BOXES = frozenset(
    b"ftyp styp moov moof mdat mfra free skip wide uuid meta sidx ssix emsg prft pdin pnot PICT udta".split()
)


def _mp4_end(head: bytes, file: BinaryIO, length: int) -> int | None:
    """Return where the last box of an MP4 or QuickTime file ends (ISO/IEC 14496-12, 4.2 and 8.8)."""
    if head[4:8] not in _MP4_BOXES:
        return None
    end = at = 0
    kind = b""
    is_fragmented = False
    for start, size, kind in outer_boxes(file):
        at = start + size
        if size < 8 or (kind not in _MP4_BOXES and at > length):
            return end
        end = max(end, at, _sidx_end(file, start, size) if kind == b"sidx" else 0)
        is_fragmented = kind == b"moof" or (is_fragmented and kind != b"mfra")  # which is the last box
    rest = length - at
    is_torn = kind == b"moof" or (is_fragmented and rest > 0)  # else no media can follow
    return at + 8 if is_torn and 0 <= rest < 8 else end


def _sidx_end(file: BinaryIO, start: int, size: int) -> int:
    """Return where the last segment that a `sidx` box lists ends (ISO/IEC 14496-12, 8.16.3)."""
    file.seek(start + 8)
    box = file.read(min(size - 8, _CHUNK_BYTES))
    width = 4 if box[:1] == b"\0" else 8  # bytes of the offset, and of the time before it
    first_offset = int.from_bytes(box[12 + width : 12 + 2 * width], "big")
    references = range(16 + 2 * width, len(box) - 3, 12)
    sizes = [int.from_bytes(box[at : at + 4], "big") & 0x7FFFFFFF for at in references]
    return start + size + first_offset + sum(sizes)


def _ogg_end(head: bytes, file: BinaryIO, length: int) -> int | None:
    """Return where the last page of an Ogg file ends (RFC 3533, 6)."""
    if head[:4] != b"OggS":
        return None
    start = max(0, length - _OGG_PAGE)
    file.seek(start)
    tail = file.read(_OGG_PAGE)
    at = tail.rfind(b"OggS\0")  # and version 0
    if at < 0 or start + len(tail) < length:
        return None
    count = tail[at + 26 : at + 27]
    end = at + 27 + (count[0] + sum(tail[at + 27 : at + 27 + count[0]]) if count else 0)
    rest = tail[end:]
    return start + end + (27 if rest and b"OggS\0".startswith(rest) else 0)


def _matroska_end(head: bytes, *_: object) -> int | None:
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


def _avi_end(head: bytes, file: BinaryIO, length: int) -> int | None:
    """Return where the last RIFF chunk of an AVI file ends (Microsoft's AVI RIFF file reference; OpenDML 1.02)."""
    end, chunk = None, head[:12]
    while chunk[:4] == b"RIFF" and chunk[8:] in (b"AVI ", b"AVIX"):
        size = int.from_bytes(chunk[4:8], "little")
        if size in (0, 0xFFFFFFFF):  # of a recording that was not finished
            return end
        if size == length:  # old tools count the 8 bytes before the content too
            return _avi_content_end(file)
        end = (end or 0) + 8 + size
        file.seek(end)
        chunk = file.read(12)
    is_torn = end and chunk and b"RIFF".startswith(chunk[:4]) and b"AVIX".startswith(chunk[8:])
    return end + 12 if end and is_torn else end


def _avi_content_end(file: BinaryIO) -> int:
    """Return where the last chunk in the first RIFF chunk of an AVI file ends."""
    end = at = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        end = at + 8 + int.from_bytes(head[4:], "little")
        at = end + end % 2  # a padding byte
    return end


def _flv_end(head: bytes, *_: object) -> int | None:
    """Return the `filesize` in the onMetaData of an FLV file (Adobe Flash Video file format 10.1, annex E.5)."""
    key = b"\x00\x08filesize\x00"  # and a number, a big-endian double
    at = head.find(key) + len(key)
    if head[:3] != b"FLV" or at < len(key) or len(head) < at + 8:
        return None
    (size,) = struct.unpack_from(">d", head, at)
    return int(size) if math.isfinite(size) else None


def _asf_end(head: bytes, *_: object) -> int | None:
    """Return the file size in the header of an ASF, WMV or WMA file (Microsoft's ASF specification, 3.2)."""
    at = head.find(_ASF_FILE_PROPERTIES)
    if head[:16] != _ASF_HEADER or at < 0 or len(head) < at + 92:
        return None
    (size,) = struct.unpack_from("<Q", head, at + 40)
    (flags,) = struct.unpack_from("<I", head, at + 88)
    return None if flags & _ASF_BROADCAST else int(size)


def _mxf_end(head: bytes, *_: object) -> int | None:
    """Return where the footer of an MXF file starts, at least, as its header partition states (SMPTE ST 377-1, 7.1)."""
    start = head.find(_MXF_PARTITION)  # behind a run-in, if any (6.5)
    if not 0 <= start < 1 << 16 or len(head) < start + 25:
        return None
    length = head[start + 16]
    content = start + 17 + (length & 0x7F if length & 0x80 else 0)  # behind the key and the length in BER
    if len(head) < content + 32:
        return None
    (footer,) = struct.unpack_from(">Q", head, content + 24)
    return start + int(footer) + 1 if footer else None


_FORMATS: tuple[Callable[[bytes, BinaryIO, int], int | None], ...] = (
    _mp4_end,
    _ogg_end,
    _matroska_end,
    _avi_end,
    _flv_end,
    _asf_end,
    _mxf_end,
)
