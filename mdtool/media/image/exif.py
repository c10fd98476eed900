"""What a photo says about itself: which parts are kept, which are taken out, and how they are written back.

Formats: EXIF 2.32, XMP part 1, IPTC IIM in Photoshop resource 0x0404, PNG third edition (chunks), RIFF (WebP).
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mdtool.media.image.exif_orientation import ORIENTATION

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
# Places in EXIF that hold another copy of the picture: sub-pictures, JPEG preview, XMP, Photoshop's block, Adobe's
# private data; and the maker's note, most of which carry a preview and none of which survives being moved.
PREVIEWS = {0x014A, 0x0201, 0x0202, 0x02BC, 0x8649, 0xC634, 0x927C}

COLOUR_CHUNKS = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"}
TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"tIME"}
XMP_KEYWORD = b"XML:com.adobe.xmp"


@dataclass(frozen=True)
class Metadata:
    """What may name a person, a place or a device. Written only when asked; see `sanitized`."""

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    comment: bytes = b""
    texts: tuple[tuple[bytes, bytes], ...] = ()  # PNG chunks: (type, data)

    def sanitized(self, width: int, height: int) -> "Metadata":
        """The same without any copy of the picture, and for upright pixels of this size."""
        return Metadata(
            sanitize_exif(self.exif, width, height), sanitize_xmp(self.xmp), self.iptc, self.comment, self.texts
        )


def parsed(exif: bytes) -> Any:
    """The tags of EXIF or of a whole TIFF, as Pillow's Image.Exif; empty where they can't be read."""
    from PIL import Image

    tags = Image.Exif()
    try:
        tags.load(exif)
        for table in (EXIF_IFD, GPS_IFD, INTEROP_IFD):
            tags.get_ifd(table)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return Image.Exif()
    return tags


def sanitize_exif(exif: bytes, width: int, height: int) -> bytes:
    """EXIF ("Exif" and two zeros, then TIFF) for upright pixels, without thumbnail, maker's note and previews."""
    tags = parsed(exif)
    if not len(tags):
        return b""
    details = tags.get_ifd(EXIF_IFD)
    for table in (tags, details):
        for tag in [tag for tag, value in table.items() if tag in PREVIEWS or _holds_jpeg(value)]:
            del table[tag]
    if ORIENTATION in tags:
        tags[ORIENTATION] = 1
    for tag, size in ((0xA002, width), (0xA003, height)):
        if tag in details:
            details[tag] = size
    try:
        return tags.tobytes()
    except (ValueError, TypeError, KeyError, struct.error):  # a broken tag; better none than half
        return b""


def sanitize_xmp(xmp: bytes) -> bytes:
    """An XMP packet (UTF-8 XML) without pictures in it, whether as thumbnail, depth map or original."""
    from xml.dom import minidom
    from xml.parsers.expat import ExpatError

    if not xmp:
        return b""
    try:
        document = minidom.parseString(xmp.strip(b"\0 \r\n\t"))
    except (ExpatError, ValueError):
        return b""
    _strip_pictures(document)
    return document.toxml("utf-8").split(b"?>", 1)[1].lstrip()


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of each chunk of a PNG, up to its end or to where it breaks off."""
    at = 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def png_dpi(chunks: Iterable[tuple[bytes, bytes]]) -> tuple[float, float] | None:
    for kind, data in chunks:
        if kind == b"pHYs" and len(data) == 9 and data[8] == 1:  # 1: pixels per metre
            across, down = struct.unpack(">II", data[:8])
            return across * 0.0254, down * 0.0254
    return None


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rebuild_png(
    png: bytes,
    *,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
    colour: Iterable[tuple[bytes, bytes]],
    sanitized: Metadata,
) -> bytes:
    """A PNG's header and pixels, with these in place of all else that it said."""
    chunks = list(colour)
    if icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(side / 0.0254) for side in dpi), 1)))
    if sanitized.exif:
        chunks.append((b"eXIf", sanitized.exif.removeprefix(b"Exif\0\0")))
    if sanitized.xmp:
        chunks.append((b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + sanitized.xmp))
    header, *rest = [chunk for chunk in png_chunks(png) if chunk[0] in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")]
    return png[:8] + b"".join(png_chunk(*chunk) for chunk in [header, *chunks, *sanitized.texts, *rest])


def png_texts(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The text chunks of a PNG that are plain text."""
    # "Raw profile type exif" and its like carry EXIF or XMP, with thumbnails, written out as hexadecimal text.
    no_text = (XMP_KEYWORD, b"Raw profile type")
    return tuple(chunk for chunk in png_chunks(data) if chunk[0] in TEXT_CHUNKS and not chunk[1].startswith(no_text))


def jpeg_with_iptc(jpeg: bytes, iptc: bytes) -> bytes:
    """The JPEG with IPTC records in an APP13 segment, after the segments that must come first."""
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    body = b"Photoshop 3.0\0" + resource
    if not iptc or len(body) > 65533:
        return jpeg
    at = 2
    while jpeg[at] == 0xFF and jpeg[at + 1] in (0xE0, 0xE1):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[:at] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + jpeg[at:]


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(FourCC, data) of each chunk after a RIFF header of 12 bytes."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _holds_jpeg(value: object) -> bool:
    return isinstance(value, bytes) and b"\xff\xd8\xff" in value


def _strip_pictures(node: Any) -> None:
    for child in list(node.childNodes):
        if child.nodeType == child.ELEMENT_NODE:
            text = "".join(part.data for part in child.childNodes if part.nodeType == child.TEXT_NODE)
            if child.localName in ("Thumbnails", "image", "Data") or _looks_encoded(text):
                node.removeChild(child)
                continue
            if child.nodeName == "tiff:Orientation":
                child.firstChild.data = "1"
            for name, value in list(child.attributes.items()):
                if name.endswith((":Data", ":image")) or _looks_encoded(value):
                    child.removeAttribute(name)
                elif name == "tiff:Orientation":
                    child.setAttribute(name, "1")
        _strip_pictures(child)


def _looks_encoded(text: str) -> bool:
    """Base64 is one very long word, or lines of 76 characters."""
    return len(text) > 1000 and max(map(len, text.split()), default=0) > 70
