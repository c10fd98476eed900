"""Image metadata: removing embedded copies of the image, and reading and writing the containers that hold it.

Formats: EXIF 2.32, XMP part 1, IPTC IIM in Photoshop resource 0x0404, PNG third edition (chunks), RIFF (WebP).
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mdtool.media.image.exif_orientation import ORIENTATION
from mdtool.media.image.pillow import pillow

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
# EXIF tags that may hold another copy of the image: SubIFDs, JPEG thumbnail, XMP, Photoshop resources, Adobe's private
# data; and MakerNote, which often holds a preview and whose offsets break when it is moved.
PREVIEWS = {0x014A, 0x0201, 0x0202, 0x02BC, 0x8649, 0xC634, 0x927C}

COLOUR_CHUNKS = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"}
TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"tIME"}
XMP_KEYWORD = b"XML:com.adobe.xmp"


@dataclass(frozen=True)
class Metadata:
    """Metadata that may identify a person, a place or a device; written only after `sanitized`, and on request.

    Attributes:
        exif: "Exif" and two NUL bytes, then a TIFF structure; or the TIFF structure alone.
        xmp: An XMP packet, UTF-8 XML.
        iptc: IPTC IIM records.
        comment: The comment of a JPEG or GIF.
        texts: PNG text chunks as (type, data).
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    comment: bytes = b""
    texts: tuple[tuple[bytes, bytes], ...] = ()

    def sanitized(self, width: int, height: int) -> "Metadata":
        """Return the same metadata without embedded images, for upright pixels of this size."""
        return Metadata(
            sanitize_exif(self.exif, width, height), sanitize_xmp(self.xmp), self.iptc, self.comment, self.texts
        )


def parsed(exif: bytes) -> Any:
    """Return the tags of EXIF data or of a whole TIFF as a Pillow Image.Exif, which is empty if they can't be read."""
    image = pillow()
    tags = image.Exif()
    try:
        tags.load(exif)
        for table in (EXIF_IFD, GPS_IFD, INTEROP_IFD):
            tags.get_ifd(table)
    except Exception:  # malformed tags can have Pillow raise any
        return image.Exif()
    return tags


def sanitize_exif(exif: bytes, width: int, height: int) -> bytes:
    """Remove thumbnail, previews and MakerNote from EXIF and set its size and orientation to upright pixels.

    Args:
        exif: As in `Metadata`.
        width: Of the upright image, in pixels.
        height: Of the upright image, in pixels.

    Returns:
        EXIF as in `Metadata`; empty if it has no tags or can't be read.
    """
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
        data: bytes = tags.tobytes()
    except Exception:  # a malformed tag can have Pillow raise any: better no EXIF than part of it
        return b""
    return data


def sanitize_xmp(xmp: bytes) -> bytes:
    """Remove embedded images (thumbnail, depth map, original) from an XMP packet.

    Returns:
        The packet; empty if it can't be parsed, or is nested too deeply.
    """
    from xml.dom import minidom
    from xml.parsers.expat import ExpatError

    if not xmp:
        return b""
    try:
        document = minidom.parseString(xmp.strip(b"\0 \r\n\t"))
        _strip_images(document)
        return document.toxml("utf-8").split(b"?>", 1)[1].lstrip()
    except (ExpatError, ValueError, RecursionError):
        return b""


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, data) of each chunk of a PNG up to its end, or to where it is truncated."""
    at = 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def png_dpi(chunks: Iterable[tuple[bytes, bytes]]) -> tuple[float, float] | None:
    """Return the horizontal and vertical resolution in pixels per inch (chunk pHYs), or None."""
    for kind, data in chunks:
        if kind == b"pHYs" and len(data) == 9 and data[8] == 1:  # 1: pixels per metre
            across, down = struct.unpack(">II", data[:8])
            return across * 0.0254, down * 0.0254
    return None


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its length and CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rebuild_png(
    png: bytes,
    *,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
    colour: Iterable[tuple[bytes, bytes]],
    sanitized: Metadata,
) -> bytes:
    """Keep the header and pixels of a PNG and replace all other chunks.

    Args:
        png: The encoded file.
        icc: ICC profile.
        dpi: Horizontal and vertical pixels per inch.
        colour: Colour chunks as (type, data).
        sanitized: Metadata to write.

    Returns:
        The new file.
    """
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
    """Return (type, data) of the text chunks of a PNG, without those that hold XMP or raw profiles."""
    # "Raw profile type exif" and the like are EXIF or XMP in hexadecimal, thumbnails included.
    binary = (XMP_KEYWORD, b"Raw profile type")
    return tuple(chunk for chunk in png_chunks(data) if chunk[0] in TEXT_CHUNKS and not chunk[1].startswith(binary))


def jpeg_with_iptc(jpeg: bytes, iptc: bytes) -> bytes:
    """Insert IPTC records into a JPEG as an APP13 segment after APP0 and APP1, if they fit into one segment."""
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    body = b"Photoshop 3.0\0" + resource
    if not iptc or len(body) > 65533:
        return jpeg
    at = 2
    while jpeg[at] == 0xFF and jpeg[at + 1] in (0xE0, 0xE1):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[:at] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + jpeg[at:]


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (FourCC, data) of each chunk after the 12-byte RIFF header."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _holds_jpeg(value: object) -> bool:
    return isinstance(value, bytes) and b"\xff\xd8\xff" in value


def _strip_images(node: Any) -> None:
    for child in list(node.childNodes):
        if child.nodeType == child.ELEMENT_NODE:
            text = "".join(part.data for part in child.childNodes if part.nodeType == child.TEXT_NODE)
            if child.localName in ("Thumbnails", "image", "Data") or _looks_encoded(text):
                node.removeChild(child)
                continue
            if child.nodeName == "tiff:Orientation":
                child.childNodes[:] = [child.ownerDocument.createTextNode("1")]
            for name, value in list(child.attributes.items()):
                if name.endswith((":Data", ":image")) or _looks_encoded(value):
                    child.removeAttribute(name)
                elif name == "tiff:Orientation":
                    child.setAttribute(name, "1")
        _strip_images(child)


def _looks_encoded(text: str) -> bool:
    """Return whether text is probably Base64: one very long word, or lines of 76 characters."""
    return len(text) > 1000 and max(map(len, text.split()), default=0) > 70
