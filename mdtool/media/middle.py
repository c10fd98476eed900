"""One picture that stands for an input."""

from contextlib import ExitStack, suppress
from itertools import islice

import av
import numpy as np

from mdtool.errors import InputError
from mdtool.media.animation import Animation
from mdtool.media.frame import Frame
from mdtool.media.inputs import Input
from mdtool.media.opening import open_medium
from mdtool.media.photo import Photo
from mdtool.media.reader import VideoReader


def middle_picture(source: Input) -> np.ndarray:
    """The photo, or a picture from the middle: HxWx3 uint8 RGB, upright. InputError as opening raises it."""
    with ExitStack() as stack:
        medium = open_medium(source, stack)
        if isinstance(medium, Photo):
            return medium.rgb()
        if isinstance(medium, Animation):
            pixels, _ = next(islice(medium.frames(), medium.frame_count // 2, None))
            return pixels[:, :, :3].copy()
        return _of_video(medium)


def _of_video(reader: VideoReader) -> np.ndarray:
    """Of the first video stream, the first frame in the second half that could be read; else the last before."""
    first = reader.videos[0].index
    start = (reader.container.start_time or 0) / av.time_base
    middle = start + (reader.seconds or 0) / 2
    with suppress(av.FFmpegError):  # else it is read from its start
        reader.container.seek(round(middle * av.time_base))
    best: Frame | None = None
    for event in reader:
        if isinstance(event, Frame) and event.stream == first:
            if best is None or not event.corrupt:
                best = event
            if best.time >= middle and not best.corrupt:
                break
    if best is None:
        raise InputError("its first video stream shows nothing in the middle")
    return best.rgb()
