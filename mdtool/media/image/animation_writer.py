"""Animated GIF, WebP and APNG: written frame by frame, with the counts, times and colours they came with.

Pillow encodes the part of each frame that changed; the container around it is put together here, since Pillow's own
writers hold every frame in memory and leave out the ones that repeat.
"""

import io
import struct
from fractions import Fraction
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import numpy as np

from mdtool.media.image import exif
from mdtool.media.image.animation import Animation
from mdtool.media.image.image_file import pillow
from mdtool.media.image.palette import indexed, packed, reduced, unpacked

LOSSY_QUALITY = 90
Box = tuple[int, int, int, int]


class _Container(Protocol):
    def add(
        self, pixels: np.ndarray, milliseconds: Fraction, before: np.ndarray | None, exact: np.ndarray | None
    ) -> None: ...

    def close(self) -> None: ...


class AnimationWriter:
    """Writes frames of one animation as another like it: same format, size, loop count, loss.

    file must be seekable for WebP and APNG: their headers hold what is known only at the end.
    Without keep_metadata comments, text, EXIF and XMP stay behind. Use it in a `with` block, or call close().
    """

    def __init__(self, file: BinaryIO, like: Animation, keep_metadata: bool = False) -> None:
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
        """HxWx4 uint8 RGBA, and how long it is shown.

        before: the same frame as it was read. Where a GIF frame has over 256 colours, those of the pixels that are
        as before stay exact and the others give way; `exact` names such colours directly (packed, see palette.py).
        """
        self._out.add(pixels, milliseconds, before, exact)

    def close(self) -> None:
        """Write what stands at the end. The file itself stays open."""
        self._out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def _changed(now: np.ndarray, base: np.ndarray | None, grid: int = 1) -> Box:
    """(x0, y0, x1, y1): the least box around all that differs, at least a pixel; x0, y0 multiples of grid."""
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
    """GIF89a, each frame with its own table of colours and no global one."""

    def __init__(self, file: BinaryIO, like: Animation, sanitized: exif.Metadata) -> None:
        self._file = file
        self._canvas = np.zeros((like.height, like.width, 4), np.uint8)  # what is shown before the waiting frame
        self._waiting: tuple[np.ndarray, int, np.ndarray] | None = None
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
        if self._waiting:
            # A frame can only paint over what is there. For a pixel to become transparent the frame before it
            # must ask for the whole canvas to be cleared after it.
            clear = bool(((pixels[:, :, 3] == 0) & (self._waiting[0][:, :, 3] > 0)).any())
            self._write(clear)
        self._waiting = pixels, round(milliseconds / 10), exact

    def close(self) -> None:
        if self._waiting:
            self._write(clear=False)
            self._waiting = None
        self._file.write(b";")

    def _write(self, clear: bool) -> None:
        from PIL import GifImagePlugin

        assert self._waiting
        pixels, hundredths, exact = self._waiting
        box = _changed(pixels, None if clear else self._canvas)
        part, below = packed(_crop(pixels, box)), packed(_crop(self._canvas, box))
        paint, colours = _painted(part, below, exact)
        indices, table = np.zeros(part.shape, np.uint8), np.zeros(0, np.uint32)
        if paint.any():
            found = indexed(colours)
            assert found
            indices[paint], table = found
        options = {}
        if not paint.all():
            options["transparency"] = len(table)
            indices[~paint] = len(table)
            table = np.append(table, np.uint32(0))
        picture = pillow().fromarray(indices)
        picture.putpalette(unpacked(table)[:, :3].tobytes())
        blocks = GifImagePlugin.getdata(
            picture, box[:2], duration=hundredths * 10, disposal=2 if clear else 1, include_color_table=True, **options
        )
        self._file.write(b"".join(blocks))
        # Where colours gave way, what viewers now show is not quite the frame.
        x0, y0, x1, y1 = box
        self._canvas[y0:y1, x0:x1][paint] = unpacked(colours)
        if clear:
            self._canvas[:] = 0


def _painted(part: np.ndarray, below: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mask of the pixels to paint, their packed colours), at most 256 colours or 255 and transparency."""
    ways = [(paint, 256 - (not paint.all())) for paint in (part != below, (part >> 24) > 0)]
    for paint, room in ways:
        if len(np.unique(part[paint])) <= room:
            return paint, part[paint]
    for paint, room in ways:
        if np.isin(np.unique(part[paint]), exact).sum() <= room:
            return paint, reduced(part[paint], exact, room)
    paint, room = ways[0]
    return paint, reduced(part[paint], exact, room)


class _Webp:
    """The extended format: VP8X, ANIM, then one ANMF a frame, painted over what was there without blending."""

    def __init__(self, file: BinaryIO, like: Animation, sanitized: exif.Metadata) -> None:
        self._file, self._like = file, like
        self._before: np.ndarray | None = None
        self._start = file.tell()
        self._tail = [(b"EXIF", sanitized.exif.removeprefix(b"Exif\0\0")), (b"XMP ", sanitized.xmp)]
        flags = (
            0x02 | 0x10 * like.alpha | 0x20 * bool(like.icc) | 0x08 * bool(sanitized.exif) | 0x04 * bool(sanitized.xmp)
        )
        file.write(b"RIFF\0\0\0\0WEBP")
        self._chunk(b"VP8X", struct.pack("<I", flags) + _three(like.width - 1) + _three(like.height - 1))
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
        frame = b"".join(map(_three, (x0 // 2, y0 // 2, x1 - x0 - 1, y1 - y0 - 1, round(milliseconds)))) + overwrite
        for name, body in exif.riff_chunks(buffer.getvalue()):
            if name in (b"ALPH", b"VP8 ", b"VP8L"):
                frame += _riff(name, body)
        self._chunk(b"ANMF", frame)
        self._before = pixels.copy()

    def close(self) -> None:
        for name, body in self._tail:
            if body:
                self._chunk(name, body)
        end = self._file.tell()
        self._file.seek(self._start + 4)
        self._file.write(struct.pack("<I", end - self._start - 8))
        self._file.seek(end)

    def _chunk(self, name: bytes, body: bytes) -> None:
        self._file.write(_riff(name, body))


class _Apng:
    """APNG: the first frame is also the still picture. 8 bits, RGB or RGBA."""

    def __init__(self, file: BinaryIO, like: Animation, sanitized: exif.Metadata) -> None:
        self._file, self._like, self._kept = file, like, sanitized
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
            dressed = exif.rebuild_png(
                png, icc=self._like.icc, dpi=None, colour=self._like.chunks, sanitized=self._kept
            )
            self._file.write(dressed[: dressed.index(b"IDAT") - 4])
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


def _three(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
