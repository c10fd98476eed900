"""A few pictures out of an input that may have very many."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from mdtool.errors import InputError
from mdtool.media.image.animation import Animation
from mdtool.media.image.image_file import StillImage
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_media
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.records.findings import FrameInfo

NEAR = 2.0  # seconds: a frame that follows so soon is reached by decoding on, not by seeking
SAME_TIME = 1e-4  # seconds


def grab_frames(source: Input, infos: Sequence[FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    """HxWx3 uint8 sRGB as displayed, in about their order, of those moments for which it has a frame of the size.

    InputError where it can't be read.
    """
    if source.path is None:
        raise InputError("came through a pipe")
    with ExitStack() as stack:
        media = open_media(source, stack)
        if isinstance(media, StillImage):
            height, width = media.pixels.shape[:2]
            if infos[0].may_have((width, height)):
                yield infos[0], media.srgb()
        elif isinstance(media, VideoReader):
            yield from _of_video(media, sorted(infos, key=lambda one: (one.stream, one.time)))
        else:
            fitting = [info for info in infos if info.may_have((media.width, media.height))]
            yield from _of_animation(media, {info.frame: info for info in fitting})


def grab_frame(source: Input, stream: int, time: float) -> np.ndarray:
    """The first picture of a video stream at that time (seconds) or later, else its last; or the photo.

    HxWx3 uint8 sRGB, upright. InputError where there is none.
    """
    with ExitStack() as stack:
        media = open_media(source, stack)
        if isinstance(media, StillImage):
            return media.srgb()
        if isinstance(media, Animation):
            return _shown_at(media, time)
        known = any(video.index == stream for video in media.videos)
        frame = _first_at(media.frames_from(stream, time), time) if known else None
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


def _of_video(reader: VideoReader, infos: Sequence[FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    frames: Iterator[Frame] = iter(())
    stream, at = -1, -math.inf
    for info in infos:
        if info.stream not in {video.index for video in reader.videos}:
            continue
        if info.stream != stream or not 0 <= info.time - at < NEAR:
            frames = reader.frames_from(info.stream, info.time)
        stream, at = info.stream, math.inf
        for frame in frames:
            at = frame.time
            if at > info.time - SAME_TIME:
                if at < info.time + SAME_TIME and info.may_have(frame.display_size):
                    yield info, frame.rgb()
                break


def _of_animation(animation: Animation, by_frame: dict[int, FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    for index, (pixels, _) in enumerate(animation.frames()):
        if index in by_frame:
            yield by_frame[index], animation.srgb(pixels)
        if index >= max(by_frame, default=0):
            return
