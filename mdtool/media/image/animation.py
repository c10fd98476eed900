"""Reading animated GIF (GIF89a), WebP (RFC 9649) and APNG (PNG, third edition) frame by frame.

Memory holds the compressed file and one or two decoded frames, however long the animation is.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from mdtool.errors import InputError
from mdtool.media.file_types import HEAD_BYTES, sniff
from mdtool.media.image import exif, exif_orientation
from mdtool.media.image.image_file import Source, StillImage, check_size
from mdtool.media.image.libvips import failure, reason, vips
from mdtool.media.image.palette import rgba
from mdtool.media.image.pillow import pillow
from mdtool.memory import check_fits

FRAMES_TOGETHER = 32  # in RGBA and sRGB, in a window of frames and in the writer
WEBP_SIDE = 16383  # pixels; the limit of a frame, though a canvas header could state more


@dataclass(frozen=True)
class Animation:
    """An animation whose frames can be decoded any number of times.

    Attributes:
        format: "gif", "webp" or "png".
        width: In pixels, as displayed.
        height: In pixels, as displayed.
        loop: How often it plays, 0 for endless; None if not stated (it then plays once).
        alpha: Whether pixels may be transparent.
        lossless: False only for WebP with lossy frames.
        icc: ICC profile.
        chunks: PNG colour chunks as (type, data).
        background: RGBA background colour of a WebP.
        notes: Sentences for the person about what could not be preserved.
        data: The compressed file.
        delays: Of each GIF frame, in hundredths of a second.
    """

    format: str
    width: int
    height: int
    frame_count: int
    loop: int | None
    alpha: bool = True
    lossless: bool = True
    icc: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    background: tuple[int, int, int, int] = (0, 0, 0, 0)
    metadata: exif.Metadata = field(default_factory=exif.Metadata)
    notes: list[str] = field(default_factory=list)
    data: bytes = field(default=b"", repr=False)
    delays: tuple[int, ...] = field(default=(), repr=False)

    def frames(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Decode the frames in order.

        Yields:
            HxWx4 uint8 RGBA of the whole canvas, and the frame's duration in milliseconds.

        Raises:
            InputError: The file is damaged.
        """
        decode = _gif_frames if self.format == "gif" else _pillow_frames
        count = 0
        for pixels, milliseconds in decode(self):
            count += 1
            yield pixels, milliseconds
        if count != self.frame_count:
            raise InputError(f"damaged: it has {count} of its {self.frame_count} frames")

    def srgb(self, pixels: np.ndarray) -> np.ndarray:
        """Convert a frame (HxWx4) to HxWx3 uint8 sRGB, as `StillImage.srgb` does."""
        return StillImage(pixels, "RGBA", self.format, self.icc).srgb()


def is_animated(source: Source) -> bool:
    """Return whether a file, or the bytes of one, is an animated GIF, WebP or PNG.

    False for a damaged GIF: reading it as a still image reports what is wrong.
    """
    if isinstance(source, bytes):
        data, kind = source, sniff(source[:HEAD_BYTES])
    else:
        with source.open("rb") as file:
            kind = sniff(file.read(HEAD_BYTES))
        data = source.read_bytes() if kind in ("gif", "webp", "png") else b""
    if kind == "png":
        return any(name == b"acTL" for name, _ in exif.png_chunks(data))
    if kind == "webp":
        return any(name == b"ANIM" for name, _ in exif.riff_chunks(data))
    try:
        return kind == "gif" and len(_gif_delays(data)[0]) > 1
    except InputError:
        return False


def read_animation(source: Source) -> Animation:
    """Open the animation in a file, or in the bytes of one.

    Raises:
        InputError: It is no animation, damaged, truncated or too large.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    kind = sniff(data[:HEAD_BYTES])
    if kind == "gif":
        return _read_gif(data)
    if kind not in ("png", "webp"):
        raise InputError("not an animated GIF, WebP or PNG")
    image = _opened(data)
    if kind == "webp" and max(image.size) > WEBP_SIDE:
        raise InputError(
            f"too large: {image.width} x {image.height} pixels, the limit of WebP is {WEBP_SIDE} on each side"
        )
    info = image.info
    turn = exif_orientation.orientation(info.get("exif", b""))
    width, height = image.size[::-1] if turn >= 5 else image.size
    chunks = [chunk for chunk in exif.png_chunks(data) if chunk[0] != b"fdAT"] if kind == "png" else []
    notes = []
    if kind == "png" and data[24] == 16:
        notes.append("was converted from 16 to 8 bits per channel, the most that is supported in an animated PNG")
    if getattr(image, "default_image", False):
        notes.append("its default image, for viewers that can't play an APNG, was replaced by its first frame")
    return Animation(
        kind,
        width,
        height,
        image.n_frames - bool(getattr(image, "default_image", False)),
        info.get("loop"),
        alpha=image.has_transparency_data,
        lossless=kind == "png" or not any(b"VP8 " in _anmf_parts(body) for body in _anmf(data)),
        icc=info.get("icc_profile"),
        chunks=tuple(chunk for chunk in chunks if chunk[0] in exif.COLOUR_CHUNKS),
        background=info.get("background", (0, 0, 0, 0)) if kind == "webp" else (0, 0, 0, 0),
        metadata=exif.Metadata(
            exif=info.get("exif", b""),
            xmp=info.get("xmp", b""),
            texts=exif.png_texts(data) if kind == "png" else (),
        ),
        notes=notes,
        data=data,
    )


def _opened(data: bytes) -> Any:
    try:
        image = pillow().open(io.BytesIO(data), formats=["PNG", "WEBP"])
    except Exception as error:  # Pillow's errors have no common base class
        raise InputError(f"damaged: {error}") from error
    _check_size(*image.size)
    return image


def _check_size(width: int, height: int) -> None:
    """Raise InputError where a frame, or the fewest that are analysed together, are too large."""
    check_size(width, height)
    check_fits(width * height * 4 * FRAMES_TOGETHER)


def _pillow_frames(animation: Animation) -> Iterator[tuple[np.ndarray, Fraction]]:
    image = _opened(animation.data)
    first = int(getattr(image, "default_image", False))
    turn = exif_orientation.orientation(animation.metadata.exif)
    for index in range(first, image.n_frames):
        try:
            image.seek(index)
            image.load()
        except (OSError, EOFError, SyntaxError, ValueError, struct.error) as error:
            raise InputError(f"damaged at frame {index - first}: {error}") from error
        # APNG states delays as fractions of 16-bit integers; Pillow returns them as floats.
        seconds = Fraction(image.info.get("duration", 0) / 1000).limit_denominator(65535)
        yield exif_orientation.upright(np.asarray(image.convert("RGBA")), turn), seconds * 1000


def _anmf(data: bytes) -> Iterator[bytes]:
    return (body for name, body in exif.riff_chunks(data) if name == b"ANMF")


def _anmf_parts(body: bytes) -> set[bytes]:
    return {name for name, _ in exif.riff_chunks(body[4:])}  # the frame header is 16 bytes long, RIFF's 12


def _read_gif(data: bytes) -> Animation:
    delays, loop, comment, alpha = _gif_delays(data)
    if not delays:
        raise InputError("damaged: it has no frames")
    width, height = struct.unpack("<HH", data[6:10])
    _check_size(width, height)
    image = _gif_image(data)
    width, height = image.width, image.get_page_height()  # of one page, where libvips finds fewer than there are
    return Animation(
        "gif",
        width,
        height,
        len(delays),
        loop,
        alpha=alpha,
        metadata=exif.Metadata(comment=comment),
        data=data,
        delays=tuple(delays),
    )


def _gif_delays(data: bytes) -> tuple[list[int], int | None, bytes, bool]:
    """Return (delays in hundredths of a second, loop count, comment, whether a frame has a transparent colour)."""
    delays, loop, comment, alpha = [], None, b"", False
    delay = 0
    try:
        at = 13 + _table_size(data[10])
        while at < len(data) and data[at] != 0x3B:
            if data[at] == 0x21:
                label, (at, body) = data[at + 1], _sub_blocks(data, at + 2)
                if label == 0xF9:
                    delay = body[1] | body[2] << 8
                    alpha = alpha or bool(body[0] & 1)
                elif label == 0xFE:
                    comment += body
                elif label == 0xFF and body.startswith(b"NETSCAPE2.0\1") and loop is None:
                    loop = body[12] | body[13] << 8
            elif data[at] == 0x2C:
                at, _ = _sub_blocks(data, at + 11 + _table_size(data[at + 9]))
                delays.append(delay)
                delay = 0
            else:
                raise InputError("damaged: it contains an unknown block")
    except IndexError:
        raise InputError("damaged: it ends in the middle of a frame") from None
    return delays, loop, comment, alpha


def _table_size(flags: int) -> int:
    """Return the length in bytes of the colour table that GIF flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _sub_blocks(data: bytes, at: int) -> tuple[int, bytes]:
    """Return (offset after a chain of sub-blocks, their content). IndexError if the data ends before."""
    parts = []
    while size := data[at]:
        parts.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return at + 1, b"".join(parts)


def _gif_image(data: bytes) -> Any:
    """Return all frames as one tall libvips image. (Pillow fills what disposal should clear with a colour.)"""
    try:
        return vips().Image.gifload_buffer(data, n=-1, access="sequential", fail_on="error")
    except vips().Error as error:
        raise InputError(f"damaged or too long: {reason(error)}") from error


def _gif_frames(animation: Animation) -> Iterator[tuple[np.ndarray, Fraction]]:
    import pyvips

    image = _gif_image(animation.data)
    width, height = animation.width, animation.height
    region = pyvips.Region.new(image)
    for index, delay in enumerate(animation.delays):
        try:
            raw = region.fetch(0, index * height, width, height)
        except pyvips.Error as error:
            raise failure(error, f" at frame {index}") from error
        yield rgba(np.frombuffer(raw, np.uint8).reshape(height, width, image.bands)), Fraction(delay * 10)
