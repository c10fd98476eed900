"""Writing animated GIF, WebP and APNG frame by frame, with the frame count, delays and colours of a source.

Pillow encodes the changed part of each frame; the container is written here, since Pillow's own writers hold all frames
in memory and merge identical ones.
"""

import io
import struct
from fractions import Fraction
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import numpy as np

from mdtool.media.image import exif
from mdtool.media.image.animation import Animation
from mdtool.media.image.palette import indexed, packed, reduced, unpacked
from mdtool.media.image.pillow import pillow

LOSSY_QUALITY = 90
Box = tuple[int, int, int, int]


class _Container(Protocol):
    """A file format; see `AnimationWriter` for the arguments."""

    def add(
        self, pixels: np.ndarray, milliseconds: Fraction, before: np.ndarray | None, exact: np.ndarray | None
    ) -> None: ...

    def close(self) -> None: ...


class AnimationWriter:
    """Writes an animation in the format, size, loop count and compression of another. Use it in a `with` block."""

    def __init__(self, file: BinaryIO, like: Animation, keep_metadata: bool = False) -> None:
        """Write the header.

        Args:
            file: Where to write; seekable for WebP and APNG, whose headers are completed at the end.
            like: The animation to follow.
            keep_metadata: Whether its comments, text, EXIF and XMP are written too.
        """
        sanitized = like.metadata.sanitized(like.width, like.height) if keep_metadata else exif.Metadata()
        self._out: _Container
        if like.format == "gif":
            self._out = _Gif(file, like, sanitized)
        elif like.format == "webp":
            self._out = _Webp(file, like, sanitized)
        else:
            self._out = _Apng(file, like, sanitized)

    def add(
        self,
        pixels: np.ndarray,
        milliseconds: Fraction,
        before: np.ndarray | None = None,
        exact: np.ndarray | None = None,
    ) -> None:
        """Append a frame.

        Args:
            pixels: HxWx4 uint8 RGBA of the whole canvas.
            milliseconds: The frame's duration.
            before: The frame as it was read. In a GIF frame of more than 256 colours, those of unchanged pixels stay
                exact and the others are quantised.
            exact: These colours (packed, see palette.py), in place of `before`.
        """
        self._out.add(pixels, milliseconds, before, exact)

    def close(self) -> None:
        """Complete the file, which stays open."""
        self._out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def _changed(now: np.ndarray, base: np.ndarray | None, grid: int = 1) -> Box:
    """Return the bounding box (x0, y0, x1, y1) of all differences, at least a pixel; x0, y0 multiples of `grid`."""
    height, width = now.shape[:2]
    if base is None:
        return 0, 0, width, height
    differs = packed(now) != packed(base)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    x0, y0 = int(columns[0]), int(rows[0])
    return x0 - x0 % grid, y0 - y0 % grid, int(columns[-1]) + 1, int(rows[-1]) + 1


def _crop(pixels: np.ndarray, box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.ascontiguousarray(pixels[y0:y1, x0:x1])


class _Gif:
    """GIF89a: each frame has a local colour table, and there is no global one."""

    def __init__(self, file: BinaryIO, like: Animation, sanitized: exif.Metadata) -> None:
        self._file = file
        self._canvas = np.zeros((like.height, like.width, 4), np.uint8)  # as displayed before the pending frame
        self._pending: tuple[np.ndarray, int, np.ndarray] | None = None  # pixels, hundredths of a second, exact colours
        file.write(b"GIF89a" + struct.pack("<HHBBB", like.width, like.height, 0x70, 0, 0))
        if like.loop is not None:
            file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", like.loop) + b"\0")
        if sanitized.comment:
            parts = [sanitized.comment[at : at + 255] for at in range(0, len(sanitized.comment), 255)]
            file.write(b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0")

    def add(
        self, pixels: np.ndarray, milliseconds: Fraction, before: np.ndarray | None, exact: np.ndarray | None
    ) -> None:
        if exact is None:
            exact = packed(pixels)[packed(pixels) == packed(pixels if before is None else before)]
        pixels = np.where(pixels[:, :, 3:] < 128, 0, pixels | np.array([0, 0, 0, 255], np.uint8)).astype(np.uint8)
        if self._pending:
            # A frame can only paint over the canvas. For a pixel to become transparent, the disposal of the frame
            # before must clear the canvas.
            clear = bool(((pixels[:, :, 3] == 0) & (self._pending[0][:, :, 3] > 0)).any())
            self._write(clear)
        self._pending = pixels, round(milliseconds / 10), exact

    def close(self) -> None:
        if self._pending:
            self._write(clear=False)
            self._pending = None
        self._file.write(b";")

    def _write(self, clear: bool) -> None:
        from PIL import GifImagePlugin

        assert self._pending
        pixels, hundredths, exact = self._pending
        box = _changed(pixels, None if clear else self._canvas)
        part, below = packed(_crop(pixels, box)), packed(_crop(self._canvas, box))
        paint, colours = _painted(part, below, exact)
        indices, table = np.zeros(part.shape, np.uint8), np.zeros(0, np.uint32)
        if paint.any():
            palette = indexed(colours)
            assert palette
            indices[paint], table = palette
        options = {}
        if not paint.all():
            options["transparency"] = len(table)
            indices[~paint] = len(table)
            table = np.append(table, np.uint32(0))
        image = pillow().fromarray(indices)
        image.putpalette(unpacked(table)[:, :3].tobytes())
        blocks = GifImagePlugin.getdata(
            image, box[:2], duration=hundredths * 10, disposal=2 if clear else 1, include_color_table=True, **options
        )
        self._file.write(b"".join(blocks))
        # The canvas holds the colours as quantised, which differ from the frame's.
        x0, y0, x1, y1 = box
        self._canvas[y0:y1, x0:x1][paint] = unpacked(colours)
        if clear:
            self._canvas[:] = 0


def _painted(part: np.ndarray, below: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (mask of the pixels to paint, their packed colours): at most 256 colours, or 255 and transparency."""
    options = [(paint, 256 - (not paint.all())) for paint in (part != below, (part >> 24) > 0)]
    for paint, limit in options:
        if len(np.unique(part[paint])) <= limit:
            return paint, part[paint]
    for paint, limit in options:
        if np.isin(np.unique(part[paint]), exact).sum() <= limit:
            return paint, reduced(part[paint], exact, limit)
    paint, limit = options[0]
    return paint, reduced(part[paint], exact, limit)


class _Webp:
    """Extended WebP: VP8X, ANIM, then one ANMF per frame, painted over the canvas without blending."""

    def __init__(self, file: BinaryIO, like: Animation, sanitized: exif.Metadata) -> None:
        self._file, self._like = file, like
        self._before: np.ndarray | None = None
        self._start = file.tell()
        self._metadata = [(b"EXIF", sanitized.exif.removeprefix(b"Exif\0\0")), (b"XMP ", sanitized.xmp)]
        flags = (
            0x02 | 0x10 * like.alpha | 0x20 * bool(like.icc) | 0x08 * bool(sanitized.exif) | 0x04 * bool(sanitized.xmp)
        )
        file.write(b"RIFF\0\0\0\0WEBP")
        self._chunk(b"VP8X", struct.pack("<I", flags) + _uint24(like.width - 1) + _uint24(like.height - 1))
        if like.icc:
            self._chunk(b"ICCP", like.icc)
        red, green, blue, alpha = like.background
        self._chunk(b"ANIM", struct.pack("<4BH", blue, green, red, alpha, like.loop or 0))

    def add(
        self, pixels: np.ndarray, milliseconds: Fraction, before: np.ndarray | None, exact: np.ndarray | None
    ) -> None:
        box = _changed(pixels, self._before, grid=2)
        part = pillow().fromarray(_crop(pixels, box))
        if not self._like.alpha:
            part = part.convert("RGB")
        buffer = io.BytesIO()
        lossless = self._like.lossless
        part.save(buffer, "WEBP", lossless=lossless, exact=lossless, quality=LOSSY_QUALITY)
        x0, y0, x1, y1 = box
        overwrite = b"\x02"
        frame = b"".join(map(_uint24, (x0 // 2, y0 // 2, x1 - x0 - 1, y1 - y0 - 1, round(milliseconds)))) + overwrite
        for name, body in exif.riff_chunks(buffer.getvalue()):
            if name in (b"ALPH", b"VP8 ", b"VP8L"):
                frame += _riff(name, body)
        self._chunk(b"ANMF", frame)
        self._before = pixels.copy()

    def close(self) -> None:
        for name, body in self._metadata:
            if body:
                self._chunk(name, body)
        end = self._file.tell()
        self._file.seek(self._start + 4)
        self._file.write(struct.pack("<I", end - self._start - 8))
        self._file.seek(end)

    def _chunk(self, name: bytes, body: bytes) -> None:
        self._file.write(_riff(name, body))


class _Apng:
    """APNG in 8 bits, RGB or RGBA; the first frame is also the default image."""

    def __init__(self, file: BinaryIO, like: Animation, sanitized: exif.Metadata) -> None:
        self._file, self._like, self._metadata = file, like, sanitized
        self._before: np.ndarray | None = None
        self._sequence = self._frames = self._counts_at = 0

    def add(
        self, pixels: np.ndarray, milliseconds: Fraction, before: np.ndarray | None, exact: np.ndarray | None
    ) -> None:
        box = _changed(pixels, self._before)
        part = pillow().fromarray(_crop(pixels, box))
        if not self._like.alpha:
            part = part.convert("RGB")
        buffer = io.BytesIO()
        part.save(buffer, "PNG")
        png = buffer.getvalue()
        if not self._frames:
            rebuilt = exif.rebuild_png(
                png, icc=self._like.icc, dpi=None, colour=self._like.chunks, sanitized=self._metadata
            )
            self._file.write(rebuilt[: rebuilt.index(b"IDAT") - 4])
            self._counts_at = self._file.tell()
            self._file.write(exif.png_chunk(b"acTL", bytes(8)))
        x0, y0, x1, y1 = box
        seconds = (milliseconds / 1000).limit_denominator(65535)
        delay = struct.pack(">HH", min(65535, seconds.numerator), seconds.denominator)
        no_disposal_no_blending = b"\0\0"
        self._chunk(b"fcTL", struct.pack(">IIII", x1 - x0, y1 - y0, x0, y0) + delay + no_disposal_no_blending)
        for name, body in exif.png_chunks(png):
            if name == b"IDAT" and not self._frames:
                self._file.write(exif.png_chunk(b"IDAT", body))
            elif name == b"IDAT":
                self._chunk(b"fdAT", body)
        self._frames += 1
        self._before = pixels.copy()

    def close(self) -> None:
        self._file.write(exif.png_chunk(b"IEND", b""))
        end = self._file.tell()
        self._file.seek(self._counts_at)
        self._file.write(exif.png_chunk(b"acTL", struct.pack(">II", self._frames, self._like.loop or 0)))
        self._file.seek(end)

    def _chunk(self, name: bytes, body: bytes) -> None:
        self._file.write(exif.png_chunk(name, struct.pack(">I", self._sequence) + body))
        self._sequence += 1


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
