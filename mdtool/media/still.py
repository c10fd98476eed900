"""One picture out of an input."""

from collections.abc import Iterable
from contextlib import ExitStack
from itertools import chain

import av
import numpy as np

from mdtool.errors import InputError
from mdtool.media.animation import Animation
from mdtool.media.frame import Frame
from mdtool.media.inputs import Input
from mdtool.media.opening import open_medium
from mdtool.media.photo import Photo
from mdtool.media.reader import VideoReader


def picture_at(source: Input, stream: int, time: float) -> np.ndarray:
    """The first picture of a video stream at that time (seconds) or later, else its last; or the photo.

    HxWx3 uint8 RGB, upright. InputError where there is none.
    """
    with ExitStack() as stack:
        medium = open_medium(source, stack)
        if isinstance(medium, Photo):
            return medium.rgb()
        if isinstance(medium, Animation):
            return _of_animation(medium, time)
        frame = _sought(medium, stream, time)
    if frame is None:
        with ExitStack() as stack:
            medium = open_medium(source, stack)
            frame = _first(medium, stream, time) if isinstance(medium, VideoReader) else None
    if frame is None:
        raise InputError(f"its stream {stream} shows nothing")
    return frame.rgb()


def _of_animation(animation: Animation, time: float) -> np.ndarray:
    end = 0.0
    for pixels, milliseconds in animation.frames():
        shown, end = pixels, end + float(milliseconds) / 1000
        if end > time:
            break
    return shown[:, :, :3].copy()


def _sought(reader: VideoReader, stream: int, time: float) -> Frame | None:
    """Without reading what lies before; None where the container can't be sought in so well."""
    try:
        reader.container.seek(round(time * av.time_base))
        events = iter(reader)
        begin = next((event for event in events if isinstance(event, Frame) and event.stream == stream), None)
        if begin is None or begin.time > time:
            return None
        return _first(chain([begin], events), stream, time)
    except (av.FFmpegError, InputError):
        return None


def _first(events: Iterable[Frame | av.Packet], stream: int, time: float) -> Frame | None:
    """Of this stream, at that time or later; if all are earlier the last. One that was read well, if there is one."""
    found: Frame | None = None
    for event in events:
        if isinstance(event, Frame) and event.stream == stream and (found is None or not event.corrupt):
            found = event
            if event.time >= time and not event.corrupt:
                break
    return found
