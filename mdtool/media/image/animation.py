"""Animated GIF (GIF89a), WebP (RFC 9649) and APNG (PNG, third edition): read frame by frame.

Memory holds the compressed file and one or two frames, however long the animation is.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from mdtool.errors import InputError
from mdtool.media.image import exif, exif_orientation
from mdtool.media.image.image_file import Source, StillImage, check_size, pillow, sniff
from mdtool.media.image.libvips import reason, vips
from mdtool.media.image.palette import rgba

WEBP_SIDE = 16383  # the header of a canvas has room for more, no frame has


@dataclass(frozen=True)
class Animation:
    """An animation that can be played any number of times.

    width, height: pixels, as displayed. loop: how often it plays, 0 for ever; None: the file does not say (once).
    alpha: some pixels may be transparent. lossless: WebP without loss; GIF and APNG always are.
    """

    format: str
    width: int
    height: int
    frame_count: int
    loop: int | None
    alpha: bool = True
    lossless: bool = True
    icc: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # PNG's colour chunks
    background: tuple[int, int, int, int] = (0, 0, 0, 0)  # WebP's
    metadata: exif.Metadata = field(default_factory=exif.Metadata)
    notes: list[str] = field(default_factory=list)
    data: bytes = field(default=b"", repr=False)
    delays: tuple[int, ...] = field(default=(), repr=False)  # GIF's, in hundredths of a second

    def frames(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """(HxWx4 uint8 RGBA of the whole canvas, milliseconds it is shown), in order.

        Raises InputError where the file is damaged.
        """
        decode = _gif_frames if self.format == "gif" else _pillow_frames
        count = 0
        for pixels, milliseconds in decode(self):
            count += 1
            yield pixels, milliseconds
        if count != self.frame_count:
            raise InputError(f"is damaged: it has {count} of its {self.frame_count} frames")

    def srgb(self, pixels: np.ndarray) -> np.ndarray:
        """HxWx3 uint8 of a frame, as `StillImage.srgb` gives it."""
        return StillImage(pixels, "RGBA", self.format, self.icc).srgb()


def is_animated(source: Source) -> bool:
    """Whether a file, or the bytes of one, is a GIF, WebP or PNG with more than one frame.

    False for all else, damaged files too: reading them as a photo will say what is wrong.
    """
    if isinstance(source, bytes):
        data, kind = source, sniff(source[:64])
    else:
        with source.open("rb") as file:
            kind = sniff(file.read(64))
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
    """The animation in a file, or in the bytes of one. Raises InputError: none, damaged, cut short or too large."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    kind = sniff(data[:64])
    if kind == "gif":
        return _read_gif(data)
    if kind not in ("png", "webp"):
        raise InputError("is no animated GIF, WebP or PNG")
    picture = _opened(data)
    if kind == "webp" and max(picture.size) > WEBP_SIDE:
        raise InputError(
            f"is too large: {picture.width} x {picture.height} pixels, a WebP frame has {WEBP_SIDE} at most"
        )
    info = picture.info
    turn = exif_orientation.orientation(info.get("exif", b""))
    width, height = picture.size[::-1] if turn >= 5 else picture.size
    chunks = [chunk for chunk in exif.png_chunks(data) if chunk[0] != b"fdAT"] if kind == "png" else []
    notes = []
    if kind == "png" and data[24] == 16:
        notes.append("its 16 bits a channel became 8: an animated PNG is read that way")
    if getattr(picture, "default_image", False):
        notes.append("the still picture for viewers that can't play it was replaced by its first frame")
    return Animation(
        kind,
        width,
        height,
        picture.n_frames - bool(getattr(picture, "default_image", False)),
        info.get("loop"),
        alpha=picture.has_transparency_data,
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
        picture = pillow().open(io.BytesIO(data), formats=["PNG", "WEBP"])
    except Exception as error:  # Pillow's errors have no common class
        raise InputError(f"is damaged: {error}") from error
    check_size(*picture.size)
    return picture


def _pillow_frames(animation: Animation) -> Iterator[tuple[np.ndarray, Fraction]]:
    picture = _opened(animation.data)
    first = int(getattr(picture, "default_image", False))
    turn = exif_orientation.orientation(animation.metadata.exif)
    for index in range(first, picture.n_frames):
        try:
            picture.seek(index)
            picture.load()
        except (OSError, EOFError, SyntaxError, ValueError, struct.error) as error:
            raise InputError(f"is damaged at frame {index - first}: {error}") from error
        # PNG's delays are fractions of a second whose parts have 16 bits; Pillow made floats of them.
        seconds = Fraction(picture.info.get("duration", 0) / 1000).limit_denominator(65535)
        yield exif_orientation.upright(np.asarray(picture.convert("RGBA")), turn), seconds * 1000


def _anmf(data: bytes) -> Iterator[bytes]:
    return (body for name, body in exif.riff_chunks(data) if name == b"ANMF")


def _anmf_parts(body: bytes) -> set[bytes]:
    return {name for name, _ in exif.riff_chunks(body[4:])}  # 16 bytes of frame header in place of RIFF's 12


def _read_gif(data: bytes) -> Animation:
    delays, loop, comment, alpha = _gif_delays(data)
    if not delays:
        raise InputError("is damaged: it has no frames")
    width, height = struct.unpack("<HH", data[6:10])
    check_size(width, height)
    width, height = _gif_image(data).width, _gif_image(data).get("page-height")
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
    """(hundredths of a second per frame, loop count, comment, whether a frame has a transparent colour)."""
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
                raise InputError("is damaged: it has bytes that are no part of a GIF")
    except IndexError:
        raise InputError("is damaged: it ends in the middle of a frame") from None
    return delays, loop, comment, alpha


def _table_size(flags: int) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _sub_blocks(data: bytes, at: int) -> tuple[int, bytes]:
    """(where the chain of sub-blocks ends, their content). IndexError if the data ends before."""
    parts = []
    while size := data[at]:
        parts.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return at + 1, b"".join(parts)


def _gif_image(data: bytes) -> Any:
    """All frames in one tall libvips image. (Pillow paints what disposal should clear with a colour.)"""
    try:
        return vips().Image.gifload_buffer(data, n=-1, access="sequential", fail_on="error")
    except vips().Error as error:
        raise InputError(f"is damaged or too long: {reason(error)}") from error


def _gif_frames(animation: Animation) -> Iterator[tuple[np.ndarray, Fraction]]:
    import pyvips

    image = _gif_image(animation.data)
    width, height = animation.width, animation.height
    region = pyvips.Region.new(image)
    for index, delay in enumerate(animation.delays):
        try:
            raw = region.fetch(0, index * height, width, height)
        except pyvips.Error as error:
            raise InputError(f"is damaged at frame {index}: {reason(error)}") from error
        yield rgba(np.frombuffer(raw, np.uint8).reshape(height, width, image.bands)), Fraction(delay * 10)
