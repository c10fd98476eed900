"""The frames of any medium as video frames: those of a video, of an animation, or the one of a still image."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from fractions import Fraction

import av
import numpy as np

from mdtool.media.image.animation import Animation
from mdtool.media.image.image_file import StillImage
from mdtool.media.sources.open_media import Media
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.stages import prefetch
from mdtool.pipeline.video import queue_depth

MILLISECONDS = Fraction(1, 1000)


def media_frames(media: Media, stack: ExitStack) -> Iterator[Frame]:
    """Iterate over the frames of all video streams, decoded ahead, of an animation, or of a still image.

    Args:
        media: The open medium.
        stack: Ends the decoding.

    Raises:
        InputError: It can't be decoded.
    """
    if isinstance(media, StillImage):
        return iter([still_frame(media)])
    if isinstance(media, Animation):
        return (frame for frame, _, _ in animation_frames(media))
    events = stack.enter_context(closing(prefetch(_video_frames(media), queue_depth(media))))
    return iter(events)


def animation_frames(animation: Animation) -> Iterator[tuple[Frame, np.ndarray, Fraction]]:
    """Yield each frame of an animation, its RGBA pixels (HxWx4, uint8), and its duration in milliseconds.

    Raises:
        InputError: The animation can't be decoded.
    """
    at = Fraction(0)
    for index, (pixels, milliseconds) in enumerate(animation.frames()):
        image = av.VideoFrame.from_ndarray(animation.srgb(pixels), format="rgb24")
        yield Frame(image, index, round(at), MILLISECONDS, round(milliseconds)), pixels, milliseconds
        at += milliseconds


def still_frame(image: StillImage) -> Frame:
    """Return a still image as a frame."""
    return Frame(av.VideoFrame.from_ndarray(image.srgb(), format="rgb24"), 0, 0, MILLISECONDS)


def _video_frames(reader: VideoReader) -> Iterator[Frame]:
    return (event for event in reader if isinstance(event, Frame))
