"""A decoded video frame with its timestamp and orientation, and access to its planes."""

import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from mdtool.media.image.display_matrix import UPRIGHT, Orientation

if TYPE_CHECKING:
    Packet = av.Packet[Any]
else:
    Packet = av.Packet  # which is generic only in PyAV's type stubs

MAX_PIXEL_ASPECT = 2  # a pixel aspect ratio from here on, or its inverse, is probably wrong
MAX_DISPLAYED_WIDTH = 8192  # pixels, to which a frame is widened at most: the ratio may be anything
LUMA_SIDE = 320  # approximate longer side, in pixels, of the grey image for motion estimation


@dataclass(eq=False)
class Frame:
    """A decoded frame.

    Attributes:
        image: The pixels as stored.
        index: Number of the frame in its stream, from 0.
        pts: Presentation timestamp, in units of `time_base`.
        time_base: In seconds.
        duration: In units of `time_base`.
        stream: Index of its stream.
        orientation: How stored pixels are transformed for display.
        matrix: The display matrix of the source, as stored; None if there is none.
        aspect: Width / height of one stored pixel (sample aspect ratio).
        corrupt: Whether the decoder reported errors in it.
    """

    image: av.VideoFrame
    index: int
    pts: int
    time_base: Fraction
    duration: int = 0
    stream: int = 0
    orientation: Orientation = UPRIGHT
    matrix: bytes | None = None
    aspect: Fraction = Fraction(1)
    corrupt: bool = False

    @property
    def time(self) -> float:
        """The presentation timestamp in seconds."""
        return float(self.pts * self.time_base)

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) in pixels as displayed, before correction of the pixel aspect ratio."""
        width, height = self.image.width, self.image.height
        return (height, width) if self.orientation.swaps_sides else (width, height)

    @property
    def nbytes(self) -> int:
        """The memory of the decoded planes in bytes."""
        return sum(plane.buffer_size for plane in self.image.planes)

    @cached_property
    def luma(self) -> np.ndarray:
        """HxW uint8 brightness as displayed, downscaled so that the longer side is about `LUMA_SIDE`."""
        image = self.image
        factor = max(1, round(max(image.width, image.height) / LUMA_SIDE))
        size = max(1, image.width // factor), max(1, image.height // factor)
        if has_plain_planes(image.format):
            small = np.asarray(cv2.resize(planes(image)[0], size, interpolation=cv2.INTER_AREA))
            if small.dtype != np.uint8:
                small = np.right_shift(small, image.format.components[0].bits - 8).astype(np.uint8)
        else:
            small = reformatter().reformat(image, *size, "gray").to_ndarray()
        return np.ascontiguousarray(self.orientation.show(small))

    @property
    def stretched(self) -> bool:
        """Whether the pixel aspect ratio is so extreme that it is probably wrong."""
        return is_stretched(self.aspect)

    def rgb(self, as_stored: bool = False) -> np.ndarray:
        """Convert to upright RGB with square pixels: the input of a model.

        Args:
            as_stored: Whether to ignore the pixel aspect ratio.

        Returns:
            HxWx3 uint8.
        """
        image, width, height = self.image, self.image.width, self.image.height
        if self.aspect != 1 and not as_stored:
            shrunk = min(Fraction(1), max(width, MAX_DISPLAYED_WIDTH) / (width * self.aspect))
            width, height = (max(1, round(side * shrunk)) for side in (width * self.aspect, height))
        pixels = reformatter().reformat(image, width, height, "rgb24").to_ndarray()
        return np.ascontiguousarray(self.orientation.show(pixels))


def is_stretched(aspect: Fraction) -> bool:
    """Return whether a pixel aspect ratio is so extreme that it is probably wrong."""
    return not 1 / MAX_PIXEL_ASPECT < aspect < MAX_PIXEL_ASPECT


def pixel_aspect(stream: Any) -> Fraction:
    """Return the pixel aspect ratio of a video stream as decoded so far.

    That of the container counts; but if it says 1:1 and the codec an extreme one, which some players follow, the
    latter.
    """
    stated = stream.sample_aspect_ratio or Fraction(1)
    coded = stream.codec_context.sample_aspect_ratio or Fraction(1)
    return coded if stated == 1 and is_stretched(coded) else stated


def reformatter() -> VideoReformatter:
    """Return this thread's reformatter: creating one for each frame takes longer than the conversion."""
    if not hasattr(_thread_local, "reformatter"):
        _thread_local.reformatter = VideoReformatter()
    instance: VideoReformatter = _thread_local.reformatter
    return instance


_thread_local = threading.local()


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Return HxW views on the planes of a planar frame.

    Call `frame.make_writable()` before writing to them.

    Returns:
        uint8 arrays, or uint16 if samples have more than 8 bits.
    """
    dtype = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    return [np.frombuffer(memoryview(p), dtype).reshape(p.height, -1)[:, : p.width] for p in frame.planes]


def copied(packet: Packet, data: bytes | None = None) -> Packet:
    """Return a copy of a packet, perhaps with other data; a muxer changes the times of a packet that it is given."""
    copy: Packet = av.Packet(bytes(packet) if data is None else data)
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    copy.duration, copy.is_keyframe = packet.duration or 0, packet.is_keyframe
    for side_data in packet.iter_sidedata():
        copy.set_sidedata(side_data)
    return copy


_PLAIN = re.compile(r"(yuvj?|yuva|gbra?)(\d{3})?p(\d{1,2}le)?|gray(\d{1,2}le)?")


def has_plain_planes(layout: av.VideoFormat) -> bool:
    """Return whether each component has its own plane of little-endian integers, luma (or green) first."""
    return _PLAIN.fullmatch(layout.name) is not None
