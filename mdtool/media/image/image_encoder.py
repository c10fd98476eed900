"""Encoding still images in their source's format, bit depth, compression and quality."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mdtool.errors import OutputError
from mdtool.media.image import exif
from mdtool.media.image.image_file import StillImage
from mdtool.media.image.libvips import reason, vips
from mdtool.media.image.palette import indexed, packed, rgba, unpacked
from mdtool.media.image.pillow import pillow

LOSSY_QUALITY = 90  # of WebP, AVIF and JPEG in TIFF, whose files don't state the quality they were encoded with
AVIF_EFFORT = 2  # 12 million pixels in about 2 seconds; 4, the default, takes ten times as long for 2/3 of the bytes
ADAPTIVE = 0xF8  # libpng tries all row filters, as most encoders do: a third smaller than without
SEGMENT = 65_500  # bytes that fit into one JPEG segment
TIFF_COMPRESSIONS = {1: "none", 4: "ccittfax4", 5: "lzw", 7: "jpeg", 8: "deflate", 32773: "packbits", 32946: "deflate"}
TIFF_COMPRESSIONS |= {50000: "zstd", 50001: "webp"}


def write_image(image: StillImage, file: BinaryIO | Path, keep_metadata: bool = False) -> None:
    """Encode an image in its own format, mode, bit depth and quality.

    Args:
        image: The image; notes about what could not be preserved are appended to its `notes`.
        file: Where to write.
        keep_metadata: Whether EXIF, XMP, IPTC and comments are written, without the images embedded in them. The ICC
            profile, resolution and gamma always are.

    Raises:
        OutputError: The image can't be encoded.
        OSError: The file can't be written.
    """
    sanitized = exif.Metadata()
    if keep_metadata:
        if image.encoding.get("exif"):
            image.notes.append("its EXIF was left out: it can't be written into a TIFF")
        sanitized = image.metadata.sanitized(image.pixels.shape[1], image.pixels.shape[0])
        if image.metadata.xmp and not sanitized.xmp:
            image.notes.append("its XMP could not be read and was left out")
        if image.metadata.exif and not sanitized.exif:
            image.notes.append("its EXIF could not be read and was left out")
    writers = {"jpeg": _jpeg, "png": _png, "webp": _webp, "tiff": _tiff, "avif": _avif, "gif": _gif}
    try:
        data = writers[image.format](image, sanitized)
    except (vips().Error, ValueError) as error:
        raise OutputError(f"can't be encoded as {image.format}: {reason(error)}") from error
    if isinstance(file, Path):
        file.write_bytes(data)
    else:
        file.write(data)


def _jpeg(image: StillImage, sanitized: exif.Metadata) -> bytes:
    encoding = dict(image.encoding)
    for name in ("exif", "xmp", "comment"):
        value = getattr(sanitized, name)
        if len(value) > SEGMENT:
            image.notes.append(f"its {name} is too long for a JPEG and was left out")
        elif value:
            encoding[name] = value
    if image.dpi:
        encoding["dpi"] = image.dpi
    return exif.jpeg_with_iptc(_pillow_save(image, "JPEG", icc_profile=image.icc, **encoding), sanitized.iptc)


def _webp(image: StillImage, sanitized: exif.Metadata) -> bytes:
    lossless = image.encoding["lossless"]
    options = {"lossless": lossless, "exact": lossless, "quality": LOSSY_QUALITY}
    return _pillow_save(image, "WEBP", icc_profile=image.icc or b"", exif=sanitized.exif, xmp=sanitized.xmp, **options)


def _png(image: StillImage, sanitized: exif.Metadata) -> bytes:
    palette = indexed(packed(rgba(image.pixels))) if image.encoding["palette"] else None
    if palette:
        indices, colours = palette
        table = unpacked(colours)
        paletted = pillow().fromarray(indices, "L")
        paletted.putpalette(table[:, :3].tobytes())
        transparency = {} if (table[:, 3] == 255).all() else {"transparency": table[:, 3].tobytes()}
        buffer = io.BytesIO()
        paletted.save(buffer, "PNG", **transparency)
        data = buffer.getvalue()
    else:
        if image.encoding["palette"]:
            image.notes.append("has more than 256 colours now, so it was written without a palette")
        bits = _bits(image) if image.mode == "L" else image.pixels.itemsize * 8
        data = _vips_image(image).pngsave_buffer(
            bitdepth=bits, interlace=image.encoding["interlace"], filter=ADAPTIVE, keep=0
        )
    return exif.rebuild_png(data, icc=image.icc, dpi=image.dpi, colour=image.encoding["chunks"], sanitized=sanitized)


def _tiff(image: StillImage, sanitized: exif.Metadata) -> bytes:
    bits = _bits(image)
    compression = TIFF_COMPRESSIONS.get(image.encoding["compression"], "deflate")
    if compression == "ccittfax4" and bits > 1:
        compression = "deflate"
    encoder = _vips_image(image)
    for name, value in (("xmp-data", sanitized.xmp), ("iptc-data", sanitized.iptc)):
        if value:
            encoder.set_type(vips().GValue.blob_type, name, value)
    options: dict[str, Any] = {"predictor": "horizontal" if image.encoding["predictor"] == 2 else "none"}
    if image.dpi:
        options |= {"xres": image.dpi[0] / 25.4, "yres": image.dpi[1] / 25.4, "resunit": "inch"}
    if bits < 8:
        options["bitdepth"] = bits
    return bytes(encoder.tiffsave_buffer(compression=compression, Q=LOSSY_QUALITY, keep=15, **options))


def _avif(image: StillImage, sanitized: exif.Metadata) -> bytes:
    encoder = _vips_image(image)
    for name, value in (("exif-data", sanitized.exif), ("xmp-data", sanitized.xmp)):
        if value:
            encoder.set_type(vips().GValue.blob_type, name, value)
    keep = 15 if sanitized.exif or sanitized.xmp else 8
    bits = image.encoding["bits"]
    return bytes(
        encoder.heifsave_buffer(compression="av1", Q=LOSSY_QUALITY, bitdepth=bits, effort=AVIF_EFFORT, keep=keep)
    )


def _gif(image: StillImage, sanitized: exif.Metadata) -> bytes:
    from mdtool.media.image.animation import Animation
    from mdtool.media.image.animation_writer import AnimationWriter

    height, width = image.pixels.shape[:2]
    buffer = io.BytesIO()
    still = Animation("gif", width, height, 1, None, metadata=sanitized)
    with AnimationWriter(buffer, still, keep_metadata=True) as writer:
        writer.add(rgba(image.pixels), Fraction(0), exact=image.encoding["colours"])
    return buffer.getvalue()


def _bits(image: StillImage) -> int:
    """Return the bits per channel to write: the source's, or 8 if new grey levels don't fit into fewer."""
    bits = int(image.encoding["bits"])
    if bits >= 8:
        return image.pixels.itemsize * 8
    if image.mode == "L" and not (image.pixels % (255 // (2**bits - 1))).any():
        return bits
    image.notes.append(f"was written with 8 bits per pixel instead of {bits}, for its new grey levels")
    return 8


def _pillow_save(image: StillImage, form: str, **options: Any) -> bytes:
    pixels = image.pixels[:, :, 0] if image.mode == "L" else image.pixels
    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    pillow().frombytes(image.mode, (width, height), np.ascontiguousarray(pixels).tobytes()).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def _vips_image(image: StillImage) -> Any:
    """Return the pixels as a libvips image, with the ICC profile."""
    deep = image.pixels.dtype == np.uint16
    names = {"L": ("b-w", "grey16"), "RGB": ("srgb", "rgb16"), "CMYK": ("cmyk", "cmyk")}
    copied = vips().Image.new_from_array(image.pixels).copy(interpretation=names[image.mode.removesuffix("A")][deep])
    if image.icc:
        copied.set_type(vips().GValue.blob_type, "icc-profile-data", image.icc)
    return copied
