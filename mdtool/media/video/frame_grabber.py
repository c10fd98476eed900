"""A few pictures out of an input that may have very many."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from mdtool.errors import InputError
from mdtool.media.image.animation import Animation
from mdtool.media.image.image_file import Photo
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_medium
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.records.findings import FrameInfo

NEAR = 2.0  # seconds: a frame that follows so soon is reached by decoding on, not by seeking
SAME_TIME = 1e-4  # seconds


def pictures_at(source: Input, moments: Sequence[FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    """HxWx3 uint8 sRGB as displayed, in about their order, of those moments for which it has a frame of the size.

    InputError where it can't be read.
    """
    if source.path is None:
        raise InputError("came through a pipe")
    with ExitStack() as stack:
        medium = open_medium(source, stack)
        if isinstance(medium, Photo):
            height, width = medium.pixels.shape[:2]
            if moments[0].may_have((width, height)):
                yield moments[0], medium.srgb()
        elif isinstance(medium, VideoReader):
            yield from _of_video(medium, sorted(moments, key=lambda one: (one.stream, one.time)))
        else:
            fitting = [moment for moment in moments if moment.may_have((medium.width, medium.height))]
            yield from _of_animation(medium, {moment.frame: moment for moment in fitting})


def picture_at(source: Input, stream: int, time: float) -> np.ndarray:
    """The first picture of a video stream at that time (seconds) or later, else its last; or the photo.

    HxWx3 uint8 sRGB, upright. InputError where there is none.
    """
    with ExitStack() as stack:
        medium = open_medium(source, stack)
        if isinstance(medium, Photo):
            return medium.srgb()
        if isinstance(medium, Animation):
            return _shown_at(medium, time)
        known = any(video.index == stream for video in medium.videos)
        frame = _first_at(medium.frames_from(stream, time), time) if known else None
    if frame is None:
        raise InputError(f"its stream {stream} shows nothing")
    return frame.rgb()


def _first_at(frames: Iterable[Frame], time: float) -> Frame | None:
    """At that time or later; if all are earlier the last. One that was read well, if there is one."""
    found: Frame | None = None
    for frame in frames:
        if found is None or not frame.corrupt:
            found = frame
            if frame.time >= time and not frame.corrupt:
                break
    return found


def _shown_at(animation: Animation, time: float) -> np.ndarray:
    end = 0.0
    for pixels, milliseconds in animation.frames():
        shown, end = pixels, end + float(milliseconds) / 1000
        if end > time:
            break
    return animation.srgb(shown)


def _of_video(reader: VideoReader, moments: Sequence[FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    frames: Iterator[Frame] = iter(())
    stream, at = -1, -math.inf
    for moment in moments:
        if moment.stream not in {video.index for video in reader.videos}:
            continue
        if moment.stream != stream or not 0 <= moment.time - at < NEAR:
            frames = reader.frames_from(moment.stream, moment.time)
        stream, at = moment.stream, math.inf
        for frame in frames:
            at = frame.time
            if at > moment.time - SAME_TIME:
                if at < moment.time + SAME_TIME and moment.may_have(frame.shown_size):
                    yield moment, frame.rgb()
                break


def _of_animation(animation: Animation, by_frame: dict[int, FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    for index, (pixels, _) in enumerate(animation.frames()):
        if index in by_frame:
            yield by_frame[index], animation.srgb(pixels)
        if index >= max(by_frame, default=0):
            return
