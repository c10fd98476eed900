"""Decoding image files into upright sRGB, in all formats that libvips and Pillow read safely."""

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from mdtool.errors import InputError
from mdtool.media.file_types import HEAD_BYTES, sniff
from mdtool.media.image import exif_orientation
from mdtool.media.image.image_file import (
    ImageTooLarge,
    StillImage,
    check_size,
    orientation,
    pixel_bytes,
)
from mdtool.media.image.libvips import failure, tolerant_jpeg, vips
from mdtool.media.image.pillow import MAX_PIXELS, pillow
from mdtool.memory import kept

# fmt: off
_MAGIC = {  # signature -> Pillow's name of the format
    b"BM": "BMP", b"P1": "PPM", b"P2": "PPM", b"P3": "PPM", b"P4": "PPM", b"P5": "PPM", b"P6": "PPM", b"Pf": "PPM",
    b"\0\0\0\x0cjP  ": "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000", b"DDS ": "DDS", b"8BPS": "PSD", b"qoif": "QOI",
    b"\0\0\1\0": "ICO", b"icns": "ICNS", b"\x01\xda": "SGI", b"\x59\xa6\x6a\x95": "SUN",
    b"\x0a\0\1": "PCX", b"\x0a\2\1": "PCX", b"\x0a\3\1": "PCX", b"\x0a\4\1": "PCX", b"\x0a\5\1": "PCX",
}
# fmt: on
JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
SMALL_PIXELS = 1 << 19  # of an image that is decoded faster in this thread than in those of libvips
MAX_VALUE = 1e30  # of a float pixel: the difference of two must be finite too


def decode_image(source: bytes | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the first or only image of a file, or of the bytes of one.

    Transparent pixels are composited over grey. Of 16 bits the upper 8 are kept; for other types see `_scaled`.

    Args:
        source: The file, or its bytes.
        max_pixels: A larger image is not decoded.

    Returns:
        HxWx3 uint8 sRGB, upright.

    Raises:
        ImageTooLarge: It has more pixels.
        InputError: It is no image, damaged or truncated.
        OSError: The file can't be opened.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if is_image_header(head) or source.suffix.lower() == ".tga":
                file.seek(0)
                data = file.read()
            else:
                data = head
    else:
        data, head = source, source[:HEAD_BYTES]
    if not head:
        raise InputError("empty")
    return kept(_decoded(data, head, max_pixels))


def _decoded(data: bytes, head: bytes, max_pixels: int) -> np.ndarray:
    kind = sniff(head)
    if kind == "heic":
        return _read_heic(data, max_pixels)
    if kind is None:
        form = next((form for magic, form in _MAGIC.items() if head.startswith(magic)), "TGA")
        return _read_by_pillow(data, form, max_pixels)
    try:
        return _read_by_vips(kind, data, max_pixels)
    except ImageTooLarge:
        raise
    except InputError:
        if kind not in ("tiff", "avif"):
            raise
        return _read_by_pillow(data, kind.upper(), max_pixels)  # which supports a few more variants


def is_image_header(head: bytes) -> bool:
    """Return whether the first 64 bytes of a file are those of an image format. TGA has no signature."""
    return sniff(head) is not None or head.startswith((*_MAGIC, *JXL))


def _read_by_vips(kind: str, data: bytes, max_pixels: int) -> np.ndarray:
    pyvips = vips()
    loader = getattr(pyvips.Image, {"avif": "heif"}.get(kind, kind) + "load_buffer")
    try:
        image = loader(data, access="sequential", fail_on="warning" if kind == "jpeg" else "error")
        check_size(image.width, image.height, pixel_bytes(image), most=max_pixels)
        try:
            pixels, mode = _pixels(image)
        except pyvips.Error:
            if kind != "jpeg":
                raise
            image = tolerant_jpeg(data)
            pixels, mode = _pixels(image)
    except pyvips.Error as error:
        raise failure(error) from error
    icc = bytes(image.get("icc-profile-data")) if image.get_typeof("icc-profile-data") else b""
    shown = StillImage(pixels, mode, kind, icc).srgb()
    turn = orientation(kind, data, image)
    return shown if turn == 1 else exif_orientation.upright(shown, turn)


def _pixels(image: Any) -> tuple[np.ndarray, str]:
    """Return HxWxC uint8 or uint16, and the mode as in `StillImage`."""
    interpretation = image.interpretation
    if interpretation in ("lab", "labs", "labq", "xyz", "scrgb"):
        image = image.colourspace("srgb")
    channels = image.bands
    bands = 4 if interpretation == "cmyk" else min(channels, 4)
    width, height = image.width, image.height  # each look at a property takes as long as some hundred pixels
    pixels = _values(image, width, height).reshape(height, width, channels)[:, :, :bands]
    mode = "CMYK" if interpretation == "cmyk" else ("L", "LA", "RGB", "RGBA")[bands - 1]
    return _scaled(np.asarray(pixels)), mode


def _values(image: Any, width: int, height: int) -> np.ndarray:
    """Return all values of a libvips image, which is not read twice where its access is sequential."""
    dtype = {"uchar": np.uint8, "ushort": np.uint16}.get(image.format)
    if width * height > SMALL_PIXELS or dtype is None:
        values: np.ndarray = image.numpy()
        return values
    return np.frombuffer(vips().Region.new(image).fetch(0, 0, width, height), dtype)


def _scaled(pixels: np.ndarray) -> np.ndarray:
    """Scale pixels of other types than uint8 and uint16 to uint8.

    The range starts at 0, or at the minimum if that is negative. It ends at the first of 1 (floats only), 255 and 65535
    that is not exceeded, or else at the maximum.
    """
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    with np.errstate(over="ignore"):  # what float32 can't hold is infinite
        values = np.nan_to_num(pixels.astype(np.float32), posinf=0, neginf=0).clip(-MAX_VALUE, MAX_VALUE)
    minimum, maximum = float(values.min()), float(values.max())
    tops = (1, 255, 65535) if pixels.dtype.kind == "f" else (255, 65535)
    low, high = min(minimum, 0.0), next((top for top in tops if maximum <= top), maximum)
    scaled: np.ndarray = np.rint((values - low) * (255 / (high - low)))
    return scaled.astype(np.uint8)


def _read_by_pillow(data: bytes, form: str, max_pixels: int) -> np.ndarray:
    try:
        image = pillow().open(io.BytesIO(data), formats=[form])
        check_size(image.width, image.height, most=max_pixels)
        image.load()
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow's errors have no common base class
        if form == "TGA":
            raise InputError(_unsupported(data)) from error
        raise InputError(f"damaged, or an unsupported variant of its format: {_line(error)}") from error
    return rgb_of_pillow(image)


def _unsupported(data: bytes) -> str:
    if data.startswith(JXL):
        return "is a JPEG XL image, which is not supported; convert it first (djxl, package libjxl-tools)"
    return "not an image in a supported format"


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def rgb_of_pillow(image: Any) -> np.ndarray:
    """Convert a decoded Pillow image to upright sRGB, as `decode_image` returns it."""
    if image.mode == "I":
        pixels = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)  # the range of its PGM and PNG readers
    elif image.mode.startswith("I;16") or image.mode == "F":
        pixels = _scaled(np.asarray(image).astype(np.float32 if image.mode == "F" else np.uint16))
    else:
        target = "RGBA" if image.has_transparency_data else {"1": "L", "L": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
        pixels = np.asarray(image if image.mode == target else image.convert(target))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    mode = "CMYK" if image.mode == "CMYK" else ("L", "LA", "RGB", "RGBA")[pixels.shape[2] - 1]
    shown = StillImage(pixels, mode, "", image.info.get("icc_profile")).srgb()
    turn = exif_orientation.orientation(image.info.get("exif") or b"")
    return shown if turn == 1 else exif_orientation.upright(shown, turn)


def _read_heic(data: bytes, max_pixels: int) -> np.ndarray:
    try:
        reader = importlib.import_module("pi_heif")
    except ImportError as error:
        raise InputError("is a HEIC image, which needs an optional package: pip install 'mdtool[heic]'") from error
    try:
        container = reader.open_heif(data)
        image = container[container.primary_index]
        width, height = image.size
        check_size(width, height, most=max_pixels)
        pixels = np.array(image)[:, :width]  # a copy, since the image's memory is freed with it
    except (InputError, MemoryError):
        raise
    except Exception as error:  # its errors have no common base class
        raise InputError(f"damaged, or an unsupported variant of its format: {_line(error)}") from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    mode = ("L", "LA", "RGB", "RGBA")[pixels.shape[2] - 1]
    return StillImage(pixels, mode, "heic", image.info.get("icc_profile")).srgb()
