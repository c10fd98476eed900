"""Photos into bytes, each format with what keeps the source's depth, compression and quality."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mdtool.errors import OutputError
from mdtool.media.image import exif
from mdtool.media.image.image_file import StillImage, pillow
from mdtool.media.image.libvips import reason, vips
from mdtool.media.image.palette import indexed, packed, rgba, unpacked

LOSSY_QUALITY = 90  # for WebP, AVIF and JPEG in TIFF, whose files don't tell what quality they were made with
AVIF_EFFORT = 2  # 12 million pixels in about 2 seconds; 4, the default, takes ten times as long for 2/3 of the bytes
ADAPTIVE = 0xF8  # libpng tries all row filters, as most PNGs were made: a third smaller than none
SEGMENT = 65_500  # bytes that fit into one JPEG segment
TIFF_COMPRESSIONS = {1: "none", 4: "ccittfax4", 5: "lzw", 7: "jpeg", 8: "deflate", 32773: "packbits", 32946: "deflate"}
TIFF_COMPRESSIONS |= {50000: "zstd", 50001: "webp"}


def write_image(photo: StillImage, file: BinaryIO | Path, keep_metadata: bool = False) -> None:
    """Encode in the photo's own format, mode, depth and quality.

    Without keep_metadata only what colour and size depend on goes with the pixels: ICC profile, dpi, gamma.
    With it EXIF, XMP, IPTC and comments go too, but never another copy of the picture.
    Raises OutputError if the encoder refuses; OSError as writing raises it.
    """
    sanitized = exif.Metadata()
    if keep_metadata:
        if photo.encoding.get("exif"):
            photo.notes.append("its EXIF was left out: it can't be written into a TIFF")
        sanitized = photo.metadata.sanitized(photo.pixels.shape[1], photo.pixels.shape[0])
        if photo.metadata.xmp and not sanitized.xmp:
            photo.notes.append("its XMP could not be read and was left out")
        if photo.metadata.exif and not sanitized.exif:
            photo.notes.append("its EXIF could not be read and was left out")
    writers = {"jpeg": _jpeg, "png": _png, "webp": _webp, "tiff": _tiff, "avif": _avif, "gif": _gif}
    try:
        data = writers[photo.format](photo, sanitized)
    except (vips().Error, ValueError) as error:
        raise OutputError(f"can't be encoded as {photo.format}: {reason(error)}") from error
    if isinstance(file, Path):
        file.write_bytes(data)
    else:
        file.write(data)


def _jpeg(photo: StillImage, sanitized: exif.Metadata) -> bytes:
    encoding = dict(photo.encoding)
    for name in ("exif", "xmp", "comment"):
        value = getattr(sanitized, name)
        if len(value) > SEGMENT:
            photo.notes.append(f"its {name} is too long for a JPEG and was left out")
        elif value:
            encoding[name] = value
    if photo.dpi:
        encoding["dpi"] = photo.dpi
    return exif.jpeg_with_iptc(_pillow_save(photo, "JPEG", icc_profile=photo.icc, **encoding), sanitized.iptc)


def _webp(photo: StillImage, sanitized: exif.Metadata) -> bytes:
    lossless = photo.encoding["lossless"]
    options = {"lossless": lossless, "exact": lossless, "quality": LOSSY_QUALITY}
    return _pillow_save(photo, "WEBP", icc_profile=photo.icc or b"", exif=sanitized.exif, xmp=sanitized.xmp, **options)


def _png(photo: StillImage, sanitized: exif.Metadata) -> bytes:
    few = indexed(packed(rgba(photo.pixels))) if photo.encoding["palette"] else None
    if few:
        indices, colours = few
        table = unpacked(colours)
        picture = pillow().fromarray(indices, "L")
        picture.putpalette(table[:, :3].tobytes())
        transparency = {} if (table[:, 3] == 255).all() else {"transparency": table[:, 3].tobytes()}
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", **transparency)
        data = buffer.getvalue()
    else:
        if photo.encoding["palette"]:
            photo.notes.append("it has more colours than its palette could hold and was written without one")
        bits = _bits(photo) if photo.mode == "L" else photo.pixels.itemsize * 8
        data = _image(photo).pngsave_buffer(
            bitdepth=bits, interlace=photo.encoding["interlace"], filter=ADAPTIVE, keep=0
        )
    return exif.rebuild_png(data, icc=photo.icc, dpi=photo.dpi, colour=photo.encoding["chunks"], sanitized=sanitized)


def _tiff(photo: StillImage, sanitized: exif.Metadata) -> bytes:
    bits = _bits(photo)
    compression = TIFF_COMPRESSIONS.get(photo.encoding["compression"], "deflate")
    if compression == "ccittfax4" and bits > 1:
        compression = "deflate"
    image = _image(photo)
    for name, value in (("xmp-data", sanitized.xmp), ("iptc-data", sanitized.iptc)):
        if value:
            image.set_type(vips().GValue.blob_type, name, value)
    options: dict[str, Any] = {"predictor": "horizontal" if photo.encoding["predictor"] == 2 else "none"}
    if photo.dpi:
        options |= {"xres": photo.dpi[0] / 25.4, "yres": photo.dpi[1] / 25.4, "resunit": "inch"}
    if bits < 8:
        options["bitdepth"] = bits
    return image.tiffsave_buffer(compression=compression, Q=LOSSY_QUALITY, keep=15, **options)


def _avif(photo: StillImage, sanitized: exif.Metadata) -> bytes:
    image = _image(photo)
    for name, value in (("exif-data", sanitized.exif), ("xmp-data", sanitized.xmp)):
        if value:
            image.set_type(vips().GValue.blob_type, name, value)
    keep = 15 if sanitized.exif or sanitized.xmp else 8
    return image.heifsave_buffer(
        compression="av1", Q=LOSSY_QUALITY, bitdepth=photo.encoding["bits"], effort=AVIF_EFFORT, keep=keep
    )


def _gif(photo: StillImage, sanitized: exif.Metadata) -> bytes:
    from mdtool.media.image.animation import Animation
    from mdtool.media.image.animation_writer import AnimationWriter

    height, width = photo.pixels.shape[:2]
    buffer = io.BytesIO()
    still = Animation("gif", width, height, 1, None, metadata=sanitized)
    with AnimationWriter(buffer, still, keep_metadata=True) as writer:
        writer.add(rgba(photo.pixels), Fraction(0), exact=photo.encoding["colours"])
    return buffer.getvalue()


def _bits(photo: StillImage) -> int:
    """Bits per channel to write: the source's, or 8 if a new shade does not fit into fewer."""
    bits = photo.encoding["bits"]
    if bits >= 8:
        return photo.pixels.itemsize * 8
    if photo.mode == "L" and not (photo.pixels % (255 // (2**bits - 1))).any():
        return bits
    photo.notes.append(f"it was written with 8 bits a pixel in place of {bits}, for the new shades")
    return 8


def _pillow_save(photo: StillImage, form: str, **options: Any) -> bytes:
    pixels = photo.pixels[:, :, 0] if photo.mode == "L" else photo.pixels
    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    pillow().frombytes(photo.mode, (width, height), np.ascontiguousarray(pixels).tobytes()).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def _image(photo: StillImage) -> Any:
    """The pixels as a libvips image, with the colour profile."""
    deep = photo.pixels.dtype == np.uint16
    names = {"L": ("b-w", "grey16"), "RGB": ("srgb", "rgb16"), "CMYK": ("cmyk", "cmyk")}
    image = vips().Image.new_from_array(photo.pixels).copy(interpretation=names[photo.mode.removesuffix("A")][deep])
    if photo.icc:
        image.set_type(vips().GValue.blob_type, "icc-profile-data", photo.icc)
    return image
