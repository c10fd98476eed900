"""Reading and writing the XMP and IPTC blocks of image files, preserving all other bytes.

JPEG: APP1 and APP13 segments. PNG: an iTXt chunk. WebP: a chunk "XMP ". TIFF: tags 700 and 33723 of the first image.
PNG and WebP have no standard place for IPTC.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from mdtool.errors import InputError
from mdtool.media.image.exif import XMP_KEYWORD, png_chunk, png_chunks, riff_chunks
from mdtool.metadata.iptc import records_in, with_records

XMP_HEAD, PHOTOSHOP_HEAD = b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
SEGMENT = 65_533  # largest payload of a JPEG segment, in bytes
XMP_TAG, IPTC_TAG = 700, 33723
TIFF_SIZES = {1: 1, 2: 1, 4: 4, 7: 1}  # tag type -> bytes per value, of the types that these tags may have
HAS_ALPHA, HAS_XMP = 0x10, 0x04  # flags of VP8X


@dataclass(frozen=True)
class MetadataBlocks:
    """The XMP packet and the IPTC records of a file; empty if it has none."""

    xmp: bytes
    iptc: bytes


@dataclass(frozen=True)
class ImageContainer:
    """An image format.

    Attributes:
        takes_iptc: Whether it can store IPTC.
        read: File content -> its metadata blocks; raises InputError if they are damaged.
        write: (file content, blocks) -> the file content with these blocks; raises InputError if they don't fit.
    """

    takes_iptc: bool
    read: Callable[[bytes], MetadataBlocks]
    write: Callable[[bytes, MetadataBlocks], bytes]


def _jpeg_segments(data: bytes) -> Iterator[tuple[str, int, int]]:
    """(kind, begin, end) of each segment before the image data, marker included (ITU-T T.81, B.1.1.4).

    kind: "xmp", "photoshop"; "head" for those that must come first; "" for others.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xE1 and data.startswith(XMP_HEAD, at + 4):
            yield "xmp", at, end
        elif marker == 0xED and data.startswith(PHOTOSHOP_HEAD, at + 4):
            yield "photoshop", at, end
        else:
            yield "head" if marker in (0xE0, 0xE1) else "", at, end
        at = end


def _single_packet(packets: list[bytes]) -> bytes:
    if len(packets) > 1:
        raise InputError("has several XMP packets, and it is unclear which one applies")
    return packets[0] if packets else b""


def _jpeg_read(data: bytes) -> MetadataBlocks:
    packets = [data[begin + 4 + len(XMP_HEAD) : end] for kind, begin, end in _jpeg_segments(data) if kind == "xmp"]
    return MetadataBlocks(_single_packet(packets), records_in(_jpeg_resources(data)))


def _jpeg_resources(data: bytes) -> bytes:
    parts = (data[begin:end] for kind, begin, end in _jpeg_segments(data) if kind == "photoshop")
    return b"".join(part[4 + len(PHOTOSHOP_HEAD) :] for part in parts)


def _jpeg_write(data: bytes, blocks: MetadataBlocks) -> bytes:
    """Write the blocks in place of the old ones, else after the segments that must come first."""
    if len(XMP_HEAD + blocks.xmp) > SEGMENT:
        raise InputError("its XMP with the caption is too long for a JPEG")
    resources, size = with_records(_jpeg_resources(data), blocks.iptc), SEGMENT - len(PHOTOSHOP_HEAD)
    parts = [resources[at : at + size] for at in range(0, len(resources), size)]
    new = {
        "xmp": _jpeg_segment(0xE1, XMP_HEAD + blocks.xmp),
        "photoshop": b"".join(_jpeg_segment(0xED, PHOTOSHOP_HEAD + part) for part in parts),
    }
    segments = list(_jpeg_segments(data))
    pieces, at = [], 2
    for kind, _, end in segments:
        pieces.append(new.pop(kind, b"") if kind in ("xmp", "photoshop") else data[at:end])
        at = end
    first = len(list(takewhile(lambda segment: segment[0] == "head", segments)))
    pieces[first:first] = new.values()
    output = data[:2] + b"".join(pieces) + data[at:]
    _check_offsets(data, output)
    return output


def _jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _check_offsets(before: bytes, after: bytes) -> None:
    """Raise InputError if further images of a Multi-Picture Format file (CIPA DC-007) would be lost.

    Their offsets count from the segment that begins with MPF.
    """
    distances = []
    for data in (before, after):
        begins = [begin for _, begin, _ in _jpeg_segments(data) if data.startswith(b"MPF\0", begin + 4)]
        distances.append(len(data) - begins[0] if begins else 0)
    if distances[0] != distances[1]:
        raise InputError("its further images (MPF) would be lost")


def _png_xmp(kind: bytes, data: bytes) -> bytes | None:
    """Return the XMP packet of a chunk; None for other chunks."""
    if kind != b"iTXt" or not data.startswith(XMP_KEYWORD + b"\0"):
        return None
    compressed = data[len(XMP_KEYWORD) + 1]
    text = data[len(XMP_KEYWORD) + 3 :].split(b"\0", 2)[-1]  # after language and translated keyword
    try:
        return zlib.decompress(text) if compressed else text
    except zlib.error as error:
        raise InputError("its XMP is damaged") from error


def _png_raw_xmp(kind: bytes, data: bytes) -> bytes:
    """XMP as older ImageMagick stores it, in hexadecimal after name and size; empty for other chunks."""
    keyword, _, text = data.partition(b"\0")
    if kind not in (b"tEXt", b"zTXt") or keyword != b"Raw profile type xmp":
        return b""
    try:
        text = zlib.decompress(text[1:]) if kind == b"zTXt" else text
        return bytes.fromhex(text.split(b"\n", 3)[3].decode("ascii"))
    except (zlib.error, ValueError, IndexError) as error:
        raise InputError("its XMP is damaged") from error


def _png_read(data: bytes) -> MetadataBlocks:
    """Read the iTXt chunk, or else the older form, which is never written: programs read it last."""
    packets = [xmp for chunk in png_chunks(data) if (xmp := _png_xmp(*chunk)) is not None]
    raw = (xmp for chunk in png_chunks(data) if (xmp := _png_raw_xmp(*chunk)))
    return MetadataBlocks(_single_packet(packets) if packets else next(raw, b""), b"")


def _png_write(data: bytes, blocks: MetadataBlocks) -> bytes:
    """Write the chunk in place of the old one, else after the header."""
    new = png_chunk(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + blocks.xmp)
    at_header = not any(_png_xmp(*chunk) is not None for chunk in png_chunks(data))
    output, at = data[:8], 8
    for kind, body in png_chunks(data):
        end = at + 12 + len(body)
        if _png_xmp(kind, body) is not None:
            output, new = output + new, b""
        else:
            output += data[at:end]
        if at_header:
            output, new, at_header = output + new, b"", False
        at = end
    return output + data[at:]


def _webp_read(data: bytes) -> MetadataBlocks:
    return MetadataBlocks(_single_packet([body for kind, body in riff_chunks(_riff(data)) if kind == b"XMP "]), b"")


def _webp_write(data: bytes, blocks: MetadataBlocks) -> bytes:
    """Write the chunk after all others (RFC 9649, 2.7), with a VP8X header that a simple file has not."""
    riff = _riff(data)
    chunks = [(kind, body) for kind, body in riff_chunks(riff) if kind != b"XMP "]
    kind, body = chunks[0]
    if kind == b"VP8X":
        chunks[0] = kind, bytes([body[0] | HAS_XMP]) + body[1:]
    elif kind == b"VP8L":  # signature, 14 bits of width - 1, 14 of height - 1, 1 of alpha
        bits = int.from_bytes(body[1:5], "little")
        chunks.insert(0, _vp8x(bits & 0x3FFF, bits >> 14 & 0x3FFF, HAS_ALPHA if bits >> 28 & 1 else 0))
    else:  # VP8: frame tag and start code, then 14 bits of width and of height
        width, height = struct.unpack("<HH", body[6:10])
        chunks.insert(0, _vp8x((width & 0x3FFF) - 1, (height & 0x3FFF) - 1, 0))
    chunks.append((b"XMP ", blocks.xmp))
    output = b"".join(kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in chunks)
    return b"RIFF" + struct.pack("<I", len(output) + 4) + b"WEBP" + output + data[len(riff) :]


def _riff(data: bytes) -> bytes:
    """Return the RIFF chunk, without trailing data of the file."""
    return data[: 8 + int.from_bytes(data[4:8], "little")]


def _vp8x(last_column: int, last_row: int, flags: int) -> tuple[bytes, bytes]:
    sides = last_column.to_bytes(3, "little") + last_row.to_bytes(3, "little")
    return b"VP8X", bytes([flags | HAS_XMP, 0, 0, 0]) + sides


def _tiff_entries(data: bytes) -> tuple[str, list[bytes], bytes]:
    """(byte order as in struct, entries of the first image file directory, offset of the next one)."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
    except struct.error as error:
        raise InputError("damaged: its directory is missing") from error
    at += 2
    return order, [data[at + 12 * n : at + 12 * n + 12] for n in range(count)], data[at + 12 * count :][:4]


def _tiff_read(data: bytes) -> MetadataBlocks:
    order, entries, _ = _tiff_entries(data)
    found = {XMP_TAG: b"", IPTC_TAG: b""}
    for entry in entries:
        tag, kind, count, at = struct.unpack(order + "HHII", entry)
        if tag in found:
            size = count * TIFF_SIZES.get(kind, 1)
            found[tag] = entry[8 : 8 + size] if size <= 4 else data[at : at + size]
    return MetadataBlocks(found[XMP_TAG], found[IPTC_TAG])


def _tiff_write(data: bytes, blocks: MetadataBlocks) -> bytes:
    """Append the blocks and a new first directory; the old one stays in the file, unreferenced."""
    order, entries, following = _tiff_entries(data)
    output = data + b"\0" * (len(data) % 2)
    for tag, block in ((XMP_TAG, blocks.xmp), (IPTC_TAG, blocks.iptc)):
        kind = 1 if tag == XMP_TAG else 7  # bytes; undefined
        entries = [entry for entry in entries if struct.unpack_from(order + "H", entry) != (tag,)]
        entries.append(struct.pack(order + "HHII", tag, kind, len(block), len(output)))
        output += block + b"\0" * (len(block) % 2)
    entries.sort(key=lambda entry: struct.unpack_from(order + "H", entry))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + following
    return output[:4] + struct.pack(order + "I", len(output)) + output[8:] + directory


CONTAINERS = {
    "jpeg": ImageContainer(True, _jpeg_read, _jpeg_write),
    "png": ImageContainer(False, _png_read, _png_write),
    "webp": ImageContainer(False, _webp_read, _webp_write),
    "tiff": ImageContainer(True, _tiff_read, _tiff_write),
}
