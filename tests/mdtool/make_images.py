"""Small images and animations with known pixels and identifying metadata, made by Pillow and libvips."""

import io
from functools import cache
from typing import Any, Literal

import numpy as np
import pyvips
from PIL import Image

SERIAL = b"SN-4711-SECRET"
PLACE = (52.0, 31.0, 12.0)


def noise(height: int, width: int, channels: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, channels), dtype=dtype, endpoint=True)


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """Return a colour ramp, which JPEG preserves well."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)


def encode_image(pixels: np.ndarray, form: str, mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    picture = Image.fromarray(flat)
    if mode:
        picture = Image.frombytes(mode, picture.size, pixels.tobytes())
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def thumbnail() -> bytes:
    return encode_image(np.full((12, 16, 3), 200, np.uint8), "JPEG", comment=b"THUMB-OF-FACE")


def camera_exif(orientation: int = 1) -> bytes:
    """Return EXIF with GPS, serial number, owner, a maker note, and a thumbnail in IFD1."""
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    tags[0x0112] = orientation
    details = tags.get_ifd(0x8769)
    details[0xA431] = SERIAL.decode()
    details[0xA430] = "Owner Name"
    details[0x927C] = b"NOTE" + thumbnail()
    gps = tags.get_ifd(0x8825)
    gps[1], gps[2] = "N", PLACE
    head = bytearray(tags.tobytes())
    # Pillow writes no thumbnail: hang an IFD1 with tags 0x0201 and 0x0202 on the end of IFD0 by hand.
    order: Literal["little", "big"] = "little" if head[6:8] == b"II" else "big"
    ifd0 = 6 + int.from_bytes(head[10:14], order)
    link = ifd0 + 2 + 12 * int.from_bytes(head[ifd0 : ifd0 + 2], order)
    ifd1 = len(head) - 6
    picture = thumbnail()
    head[link : link + 4] = ifd1.to_bytes(4, order)
    entries = [(0x0103, 3, 6), (0x0201, 4, ifd1 + 2 + 36 + 4), (0x0202, 4, len(picture))]
    head += len(entries).to_bytes(2, order)
    for tag, kind, value in entries:
        number = value.to_bytes(2, order) + b"\0\0" if kind == 3 else value.to_bytes(4, order)
        head += tag.to_bytes(2, order) + kind.to_bytes(2, order) + (1).to_bytes(4, order) + number
    return bytes(head) + b"\0\0\0\0" + picture


def xmp(orientation: int = 6) -> bytes:
    picture = "QUJD" * 800
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        'xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/" xmlns:GImage="http://ns.google.com/photos/1.0/image/" '
        f'tiff:Orientation="{orientation}" xmp:CreatorTool="Secret Tool" GImage:Data="{picture}">'
        f"<xmp:Thumbnails><rdf:Alt><rdf:li><xmpGImg:image>{picture}</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


@cache  # it holds the time at which it was made
def icc() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@cache
def swapped_channels_icc() -> bytes:
    """Return an ICC profile with red and blue swapped, whose effect is obvious."""
    turned = bytearray(icc())
    table = {bytes(turned[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(turned[128:132], "big"), 12)}
    red, blue = table[b"rXYZ"], table[b"bXYZ"]
    turned[red + 4 : red + 12], turned[blue + 4 : blue + 12] = turned[blue + 4 : blue + 12], turned[red + 4 : red + 12]
    return bytes(turned)


def encode_16_bit(pixels: np.ndarray, name: str, **options: Any) -> bytes:
    """Encode 16 bits per channel, which Pillow can't write."""
    names = {1: "grey16", 3: "rgb16", 4: "rgb16"}
    image = pyvips.Image.new_from_array(pixels).copy(interpretation=names[pixels.shape[2]])
    encoded: bytes = getattr(image, name + "save_buffer")(**options)
    return encoded
