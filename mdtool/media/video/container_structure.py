"""Whether the structure of a Matroska, WebM or FLV file is damaged: a demuxer passes over what it can't read there.

A wrong byte in the header of a block or tag hides where the next one starts. FFmpeg then goes on at a later cluster or
tag, without an error, and what lies between is lost.
"""

from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

from mdtool.media.files.pipe import PipeReader

_EBML, _SEGMENT, _CLUSTER, _TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
# SeekHead, Info, Cues, Chapters, Attachments, Tags
_TOP_LEVEL = frozenset({_CLUSTER, _TRACKS, 0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1043A770, 0x1941A469, 0x1254C367})
_TRACK_ENTRY, _TRACK_NUMBER = 0xAE, 0xD7
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_ANYWHERE = frozenset({0xEC, 0xBF})  # Void, CRC-32
# Timestamp, SilentTracks, Position, PrevSize, EncryptedBlock
_IN_CLUSTER = frozenset({0xE7, 0x5854, 0xA7, 0xAB, 0xAF, _SIMPLE_BLOCK, _BLOCK_GROUP}) | _ANYWHERE
_MAX_HEADER = 12  # bytes of an element's identifier and size
_MAX_ELEMENTS = 10_000_000  # days of video; a file made of empty ones would take minutes

_FLV_TAG = 11  # bytes before its content


def is_broken(source: Path | BinaryIO | PipeReader) -> bool:
    """Return whether the parts of a file don't follow one another as they must; False for other containers.

    Args:
        source: A file; or a file object, whose position stays. Pipes and remote files are not looked at.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return is_broken(file)
    if isinstance(source, PipeReader) or not isinstance(source, BufferedIOBase):
        return False  # in a remote file each place that is sought costs a request
    position = source.tell()
    length = source.seek(0, 2)
    source.seek(0)
    kind = source.read(4)
    broken = {b"\x1aE\xdf\xa3": _matroska_is_broken, b"FLV\1": _flv_is_broken}.get(kind)
    found = broken is not None and broken(source, length)
    source.seek(position)
    return found


def _matroska_is_broken(file: BinaryIO, length: int) -> bool:
    """Walk over the elements of the first segment (RFC 8794, RFC 9559)."""
    header = _element(file, 0)
    segment = _element(file, header[2]) if header and header[2] else None
    if not segment or segment[0] != _SEGMENT:
        return False
    _, at, stated_end = segment
    end = min(stated_end or length, length)
    is_whole = stated_end is not None and stated_end <= length
    tracks: set[int] = set()
    cluster_end: int | None = at  # None: it lasts up to the next one
    for _ in range(_MAX_ELEMENTS):
        element = _element(file, at) if at < end else None
        if element is None:
            return at + _MAX_HEADER <= end  # else it is over, or cut off
        kind, content, after = element
        in_cluster = cluster_end is None or at < cluster_end
        is_top = kind in _TOP_LEVEL and not (in_cluster and cluster_end)
        if kind == _EBML:  # another file was appended
            return False
        if not is_top and kind not in (_IN_CLUSTER if in_cluster else _ANYWHERE):
            return True
        if kind == _CLUSTER:
            at, cluster_end = content, after
            continue
        limit = cluster_end if in_cluster and cluster_end else end
        if after is None or after > limit:
            return after is None or after <= length or is_whole  # else it may be cut off
        if kind == _TRACKS:
            tracks = set(_track_numbers(file, content, after))
        elif kind == _SIMPLE_BLOCK and _track_of_block(file, content) not in tracks:
            return True
        elif kind == _BLOCK_GROUP:
            blocks = [place for inner, place, _ in _children(file, content, after) if inner == _BLOCK]
            if len(blocks) != 1 or _track_of_block(file, blocks[0]) not in tracks:
                return True
        at = after
    return False


def _element(file: BinaryIO, at: int) -> tuple[int, int, int | None] | None:
    """Return the identifier of an element, where its content starts and ends; an end of None is not known."""
    file.seek(at)
    data = file.read(_MAX_HEADER)
    if not data or not data[0]:
        return None
    width = 9 - data[0].bit_length()
    if width > 4 or len(data) <= width or not data[width]:
        return None
    sized = 9 - data[width].bit_length()
    field = data[width : width + sized]
    if len(field) < sized:
        return None
    most = (1 << 7 * sized) - 1
    size = int.from_bytes(field, "big") & most
    content = at + width + sized
    return int.from_bytes(data[:width], "big"), content, None if size == most else content + size


def _children(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    while at < end and (element := _element(file, at)) and element[2]:
        kind, content, at = element[0], element[1], element[2]
        yield kind, content, at


def _track_numbers(file: BinaryIO, start: int, end: int) -> Iterator[int]:
    for kind, content, after in _children(file, start, end):
        for inner, place, stop in _children(file, content, after) if kind == _TRACK_ENTRY else ():
            if inner == _TRACK_NUMBER:
                file.seek(place)
                yield int.from_bytes(file.read(stop - place), "big")


def _track_of_block(file: BinaryIO, content: int) -> int | None:
    file.seek(content)
    first = file.read(8)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    return int.from_bytes(first[:width], "big") & ((1 << 7 * width) - 1)


def _flv_is_broken(file: BinaryIO, length: int) -> bool:
    """Compare the size of each tag with the one that follows it (Adobe Flash Video file format 10.1, annex E).

    Some writers count one byte less, leave the tag's header out, or write 0.
    """
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + 4
    for _ in range(_MAX_ELEMENTS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            return False
        size = int.from_bytes(head[1:], "big")
        at += _FLV_TAG + size + 4
        if at - 4 > length:
            return True
        file.seek(at - 4)
        stated = file.read(4)
        if len(stated) == 4 and int.from_bytes(stated, "big") not in (_FLV_TAG + size, _FLV_TAG - 1 + size, size, 0):
            return True
    return False
