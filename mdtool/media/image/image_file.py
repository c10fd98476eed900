"""Reading still images with all that is needed to write them back in the same format and quality.

JPEG (ITU T.81, JFIF, Exif), PNG (third edition), WebP (RFC 9649), TIFF 6.0, AVIF, and GIF89a with one frame.
An output is built from pixels and named fields only, so nothing else of the source can leak into it.
"""

import io
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mdtool.errors import InputError
from mdtool.media.file_types import HEAD_BYTES, sniff
from mdtool.media.image import exif, exif_orientation
from mdtool.media.image.icc_profile import to_srgb
from mdtool.media.image.libvips import failure, reason, tolerant_jpeg, vips
from mdtool.media.image.palette import packed, rgba
from mdtool.media.image.pillow import MAX_PIXELS, pillow
from mdtool.memory import reserve

NEARLY_TRANSPARENT = 32  # of 255
GREY_BACKGROUND = 128  # black and white drawings on a transparent background both show on it

Source = bytes | Path

COPIES, RGB_BYTES = 4, 6  # what a picture takes while it is decoded and written: its pixels and its sRGB, repeatedly
SAMPLE_BYTES = {"uchar": 1, "char": 1, "ushort": 2, "short": 2, "uint": 4, "int": 4, "float": 4}  # by libvips' formats

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}


@dataclass
class StillImage:
    """One upright still image.

    Attributes:
        pixels: HxWxC, uint8 or uint16, as displayed (EXIF orientation applied).
        mode: "L", "LA", "RGB", "RGBA" or "CMYK" (ink, 0 is none); it determines C.
        format: As returned by `sniff`.
        icc: ICC profile.
        dpi: Pixels per inch, horizontal and vertical.
        encoding: What the encoder of the format needs to keep depth, compression and quality.
        metadata: EXIF, XMP, IPTC, comments.
        notes: Sentences for the person about what could not be preserved; reading and writing append to them.
    """

    pixels: np.ndarray
    mode: str
    format: str
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    encoding: dict[str, Any] = field(default_factory=dict)
    metadata: exif.Metadata = field(default_factory=exif.Metadata)
    notes: list[str] = field(default_factory=list)

    def planes(self) -> list[np.ndarray]:
        """Return writable HxW views, one per colour channel, alpha excluded."""
        count = CHANNELS[self.mode] - self.mode.endswith("A")
        return [self.pixels[:, :, channel] for channel in range(count)]

    def alpha(self) -> np.ndarray | None:
        """Return a writable HxW view of the alpha channel, or None.

        Alpha alone can show a face: where pixels are redacted it has to be redacted too, or made opaque.
        """
        return self.pixels[:, :, -1] if self.mode.endswith("A") else None

    def fill(self, rgb: tuple[int, int, int]) -> list[int]:
        """Return the value in each of `planes` of a colour (red, green, blue, each 0..255)."""
        red, green, blue = rgb
        if self.mode in ("L", "LA"):
            values = [round(0.299 * red + 0.587 * green + 0.114 * blue)]
        elif self.mode == "CMYK":
            light = max(rgb)
            values = [round(255 * (light - part) / light) if light else 0 for part in rgb] + [255 - light]
        else:
            values = [red, green, blue]
        return [value * 257 for value in values] if self.pixels.dtype == np.uint16 else values

    def srgb(self) -> np.ndarray:
        """Convert to HxWx3 uint8 sRGB by the ICC profile, if any, composited over grey: the input of a model."""
        colours = self.pixels[:, :, : len(self.planes())]
        if not self.icc or (converted := to_srgb(colours, self.mode, self.icc)) is None:
            return self.rgb()
        return self._on_grey(converted)

    def rgb(self) -> np.ndarray:
        """Convert to HxWx3 uint8 without applying the ICC profile, for `set_rgb`; it may be a view of `pixels`."""
        if self.mode == "CMYK":
            light = 255 - _eight_bits(self.pixels).astype(np.uint16)
            return ((light[:, :, :3] * light[:, :, 3:] + 127) // 255).astype(np.uint8)
        colours = self._on_grey(_eight_bits(self.pixels[:, :, : len(self.planes())]))
        return np.ascontiguousarray(colours if colours.shape[2] == 3 else colours.repeat(3, axis=2))

    def _on_grey(self, colours: np.ndarray) -> np.ndarray:
        """Composite colours (HxWxC uint8) over grey by the image's alpha."""
        alpha = self.alpha()
        if alpha is None or (alpha == np.iinfo(alpha.dtype).max).all():  # screenshots have an opaque alpha channel
            return colours
        return _over_grey(colours, _eight_bits(alpha)[:, :, None])

    def set_rgb(self, rgb: np.ndarray, where: np.ndarray) -> None:
        """Store colours in the pixels of a mask, and make these opaque.

        Args:
            rgb: HxWx3 uint8, in the values of `rgb()`.
            where: HxW bool.
        """
        colours = rgb[where].astype(self.pixels.dtype)
        if self.mode in ("L", "LA"):
            colours = np.rint(colours @ (0.299, 0.587, 0.114))[:, None].astype(self.pixels.dtype)
        elif self.mode == "CMYK":
            light = colours.max(axis=1, keepdims=True, initial=0)
            ink = 255 * (light - colours.astype(np.int32)) // np.maximum(light, 1)
            colours = np.hstack([ink, 255 - light]).astype(self.pixels.dtype)
        if self.pixels.dtype == np.uint16:
            colours *= 257
        self.pixels[where, : colours.shape[1]] = colours
        if (alpha := self.alpha()) is not None:
            alpha[where] = np.iinfo(alpha.dtype).max


def read_image(source: Source) -> StillImage:
    """Decode the still image in a file, or in the bytes of one.

    Raises:
        InputError: It is no image of a supported format, damaged, truncated, too large, or contains further images that
            would not be redacted.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    kind = sniff(data[:HEAD_BYTES])
    if not data:
        raise InputError("empty")
    if kind is None:
        raise InputError("not an image in a supported format: JPEG, PNG, WebP, TIFF, AVIF or GIF")
    if kind == "heic":
        raise InputError(
            "is a HEIC image, which is not supported here; convert it first (heif-convert, package libheif-examples)"
        )
    if kind == "avif" and b"avis" in data[8:64] and b"moov" in data:
        raise InputError("is an animated AVIF, which is not supported; convert it to WebP or a video first")
    notes: list[str] = []
    image = _open(kind, data)
    encoding, comment, iptc, dpi = _details(kind, data, image, notes)
    pixels = _pixels(kind, data, image, notes)
    turn = orientation(kind, data, image)
    pixels = exif_orientation.upright(pixels, turn)
    if turn >= 5 and dpi:
        dpi = dpi[::-1]
    metadata = exif.Metadata(
        exif=_blob(image, "exif-data"),
        xmp=_blob(image, "xmp-data"),
        iptc=iptc,
        comment=comment,
        texts=exif.png_texts(data) if kind == "png" else (),
    )
    icc = _blob(image, "icc-profile-data") or None
    if encoding.get("palette"):
        encoding["colours"] = np.unique(packed(rgba(pixels)))
    return StillImage(pixels, _mode(image), kind, icc, dpi, encoding, metadata, notes)


class ImageTooLarge(InputError):
    """An image has more pixels than are decoded."""


def check_size(width: int, height: int, pixel_bytes: int = 4, *, most: int = MAX_PIXELS) -> None:
    """Check that an image is small enough to decode safely.

    Args:
        width: In pixels.
        height: In pixels.
        pixel_bytes: Of all channels of a decoded pixel.
        most: Pixels.

    Raises:
        ImageTooLarge: It has more pixels than `most`.
        InputError: It would take more memory than the budget.
    """
    if width * height > most:
        raise ImageTooLarge(
            f"too large: {width} x {height} pixels, the limit is {most / 1e6:g} million; scale it down first"
        )
    reserve(width * height * (COPIES * pixel_bytes + RGB_BYTES))


def pixel_bytes(image: Any) -> int:
    """Return the bytes of all channels of a pixel of a libvips image."""
    return int(image.bands) * SAMPLE_BYTES.get(image.format, 8)


def orientation(kind: str, data: bytes, image: Any) -> int:
    """Return the EXIF orientation (1..8) that is still to be applied to the pixels of a libvips image."""
    if kind == "avif":  # the decoder applies the rotation of its own boxes
        return 1
    return exif_orientation.orientation(data if kind == "tiff" else _blob(image, "exif-data"))


def _open(kind: str, data: bytes, **options: Any) -> Any:
    """Return a libvips image whose header is checked; its pixels are not decoded yet."""
    pyvips = vips()
    loader = getattr(pyvips.Image, {"avif": "heif"}.get(kind, kind) + "load_buffer")
    try:
        image = loader(data, fail_on="warning" if kind == "jpeg" else "error", **options)
    except pyvips.Error as error:
        raise failure(error) from error
    check_size(image.width, image.height, pixel_bytes(image))
    if image.format not in ("uchar", "ushort") or image.interpretation in ("lab", "labs") or image.bands > 4:
        raise InputError(f"has a pixel format that mdtool can't redact ({image.bands} x {image.format}); convert it")
    if _count(image) > 1:
        if kind == "gif":  # a whole one is read as an animation
            raise InputError("damaged: its frames can't be told apart up to its end; repair it, or save it again")
        raise InputError(f"contains {_count(image)} images, of which only the first would be processed; split it first")
    return image


def _pixels(kind: str, data: bytes, image: Any, notes: list[str]) -> np.ndarray:
    pyvips = vips()
    try:
        pixels = image.numpy()
    except pyvips.Error as error:
        if kind != "jpeg":
            raise failure(error) from error
        try:
            pixels = tolerant_jpeg(data).numpy()
        except pyvips.Error as second:
            raise failure(second) from second
        notes.append(f"is slightly damaged ({reason(error)})")
    return np.asarray(pixels.reshape(image.height, image.width, image.bands))


def _mode(image: Any) -> str:
    return "CMYK" if image.interpretation == "cmyk" else ("L", "LA", "RGB", "RGBA")[image.bands - 1]


def _details(
    kind: str, data: bytes, image: Any, notes: list[str]
) -> tuple[dict[str, Any], bytes, bytes, tuple[float, float] | None]:
    """Return (encoding, comment, IPTC, dpi), which are read from the format's own structures."""
    bits = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 8
    if kind == "jpeg":
        return _jpeg_details(data, notes)
    if kind == "png":
        chunks = [chunk for chunk in exif.png_chunks(data) if chunk[0] != b"IDAT"]
        if any(name == b"acTL" for name, _ in chunks):
            raise InputError("is an animated PNG, not a still image")
        encoding = {
            "bits": bits,
            "palette": bool(image.get_typeof("palette")),
            "interlace": bool(image.get_typeof("interlaced")),
            "chunks": [chunk for chunk in chunks if chunk[0] in exif.COLOUR_CHUNKS],
        }
        return encoding, b"", b"", exif.png_dpi(chunks)
    if kind == "tiff":
        tags = exif.parsed(data)
        if not len(tags):
            raise InputError("is a BigTIFF, or its header can't be read; save it as a plain TIFF first")
        if tags.get(262) == 3:
            notes.append("its palette was converted to RGB")
        if {0xC612, 0x014A} & set(tags) or data[8:10] == b"CR":
            raise InputError("is a camera raw file, or a TIFF with embedded sub-images; export it as a plain image")
        encoding = {"bits": bits, "compression": tags.get(259, 1), "predictor": tags.get(317, 1)}
        encoding["exif"] = bool({exif.EXIF_IFD, exif.GPS_IFD} & set(tags))
        dpi = (image.xres * 25.4, image.yres * 25.4) if image.get_typeof("resolution-unit") else None
        return encoding, b"", _blob(image, "iptc-data"), dpi
    if kind == "webp":
        return {"lossless": any(chunk == b"VP8L" for chunk, _ in exif.riff_chunks(data))}, b"", b"", None
    return {"bits": bits, "palette": kind == "gif"}, b"", b"", None


def _jpeg_details(data: bytes, notes: list[str]) -> tuple[dict[str, Any], bytes, bytes, tuple[float, float] | None]:
    from PIL import JpegImagePlugin

    try:
        header = pillow().open(io.BytesIO(data), formats=["JPEG"])
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise InputError(f"damaged: {error}") from error
    encoding = {
        "qtables": header.quantization,
        "subsampling": max(0, JpegImagePlugin.get_sampling(header)),
        "progressive": bool(header.info.get("progressive")),
        "keep_rgb": header.info.get("adobe_transform") == 0 and header.mode == "RGB",
    }
    if "mp" in header.info:
        notes.append("its additional images (preview, depth or gain map) were left out")
    elif len(data) - _jpeg_end(data) > 64:  # a little padding is common
        notes.append("data after the image (such as the video of a motion photo) was left out")
    blocks = header.info.get("photoshop", {})
    iptc = blocks.get(0x0404, b"") if isinstance(blocks, dict) else b""
    return encoding, header.info.get("comment", b""), iptc, header.info.get("dpi")


def _jpeg_end(data: bytes) -> int:
    """Return the offset after the first image's EOI marker (T.81, B.1.1: FF 00 and FF D0..D7 belong to the scan)."""
    at = 2
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] == 0xFF and marker == 0xD9:
            return at + 2
        if data[at] != 0xFF or marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD7:
            at = data.find(b"\xff", at + 1)
            if at < 0:
                break
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)


def _eight_bits(values: np.ndarray) -> np.ndarray:
    return values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)


def _over_grey(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite HxWxC uint8 colours over grey.

    The colours of pixels that are transparent, fully or nearly, can be recovered from the file, so they are treated as
    visible unless they are all the same, as those of a shadow are.
    """
    opacity = alpha.astype(np.uint16)
    visible = ((colours.astype(np.uint16) * opacity + GREY_BACKGROUND * (255 - opacity)) // 255).astype(np.uint8)
    fully, nearly = alpha[:, :, 0] == 0, alpha[:, :, 0] < NEARLY_TRANSPARENT
    for transparent in (fully, nearly & ~fully):
        hidden = colours[transparent]
        if len(hidden) and (hidden != hidden[0]).any():
            visible[transparent] = hidden
    return visible


def _blob(image: Any, name: str) -> bytes:
    return bytes(image.get(name)) if image.get_typeof(name) else b""


def _count(image: Any) -> int:
    return int(image.get("n-pages")) if image.get_typeof("n-pages") else 1
