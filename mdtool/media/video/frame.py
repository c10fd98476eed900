"""One decoded picture on its way from a source to a sink."""

import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from mdtool.media.image.display_matrix import UPRIGHT, Orientation

STRETCHED = 2  # times as wide as high, or as high as wide, from which on a pixel's shape is not relied on
LUMA_SIDE = 320  # about the longer side, in pixels, of the small grey picture that motion is measured on


@dataclass(eq=False)
class Frame:
    """A picture as decoded, when it is shown, and how it is turned to be shown.

    index counts the frames of its stream from 0; pts and duration are in units of time_base seconds.
    matrix: the display matrix that the orientation was read from, as it is stored; None where there is none.
    corrupt: the decoder could not read all of it.
    """

    picture: av.VideoFrame
    index: int
    pts: int
    time_base: Fraction
    duration: int = 0
    stream: int = 0
    orientation: Orientation = UPRIGHT
    matrix: bytes | None = None
    aspect: Fraction = Fraction(1)  # width / height of one stored pixel
    corrupt: bool = False

    @property
    def time(self) -> float:
        """Seconds."""
        return float(self.pts * self.time_base)

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the picture as displayed, not counting the shape of the pixels."""
        width, height = self.picture.width, self.picture.height
        return (height, width) if self.orientation.swaps_sides else (width, height)

    @property
    def nbytes(self) -> int:
        return sum(plane.buffer_size for plane in self.picture.planes)

    @cached_property
    def luma(self) -> np.ndarray:
        """Small hxw uint8 brightness as displayed; the longer side is about LUMA_SIDE."""
        picture = self.picture
        factor = max(1, round(max(picture.width, picture.height) / LUMA_SIDE))
        size = max(1, picture.width // factor), max(1, picture.height // factor)
        if has_plain_planes(picture.format):
            small = np.asarray(cv2.resize(planes(picture)[0], size, interpolation=cv2.INTER_AREA))
            if small.dtype != np.uint8:
                small = np.right_shift(small, picture.format.components[0].bits - 8).astype(np.uint8)
        else:
            small = reformatter().reformat(picture, *size, "gray").to_ndarray()
        return np.ascontiguousarray(self.orientation.show(small))

    @property
    def stretched(self) -> bool:
        """Whether the shape of the pixels changes the picture so much that it may well be wrong."""
        return not 1 / STRETCHED < self.aspect < STRETCHED

    def rgb(self, as_stored: bool = False) -> np.ndarray:
        """HxWx3 uint8, upright, for a model to look at: as displayed, with square pixels.

        as_stored: the stored pixels instead, as if they were square.
        """
        picture, width = self.picture, self.picture.width
        if self.aspect != 1 and not as_stored:
            width = max(1, round(width * self.aspect))
        pixels = reformatter().reformat(picture, width, picture.height, "rgb24").to_ndarray()
        return np.ascontiguousarray(self.orientation.show(pixels))


def reformatter() -> VideoReformatter:
    """One a thread: a new one for each picture takes longer than the conversion."""
    if not hasattr(_own, "reformatter"):
        _own.reformatter = VideoReformatter()
    made: VideoReformatter = _own.reformatter
    return made


_own = threading.local()


def planes(picture: av.VideoFrame) -> list[np.ndarray]:
    """Views, HxW, on the planes of a planar picture: uint8, or uint16 where samples have more than 8 bits.

    Writing to them changes the picture: call `picture.make_writable()` before.
    """
    kind = np.uint16 if picture.format.components[0].bits > 8 else np.uint8
    return [np.frombuffer(memoryview(p), kind).reshape(p.height, -1)[:, : p.width] for p in picture.planes]


_PLAIN = re.compile(r"(yuvj?|yuva|gbra?)(\d{3})?p(\d{1,2}le)?|gray(\d{1,2}le)?")


def has_plain_planes(layout: av.VideoFormat) -> bool:
    """Whether every component lies in a plane of its own, brightness (or green) first, as little-endian integers."""
    return _PLAIN.fullmatch(layout.name) is not None
