"""Decoding single frames of an input by seeking."""

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

NO_SEEK_SECONDS = 2.0  # a frame within so many seconds is reached by decoding, not by seeking
SAME_TIME = 1e-4  # seconds; timestamps that differ by less are equal


def grab_frames(source: Input, infos: Sequence[FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    """Decode recorded frames again.

    Args:
        source: The input, a file.
        infos: The frames to decode. Those that the input does not have, or has in another size, are left out.

    Yields:
        The frame info, and HxWx3 uint8 sRGB as displayed; of a video sorted by stream and time.

    Raises:
        InputError: It can't be read.
    """
    if source.path is None:
        raise InputError("was read from a pipe or a URL, not from a file")
    with ExitStack() as stack:
        media = open_media(source, stack)
        if isinstance(media, StillImage):
            height, width = media.pixels.shape[:2]
            if infos[0].may_have((width, height)):
                yield infos[0], media.srgb()
        elif isinstance(media, VideoReader):
            yield from _grab_from_video(media, sorted(infos, key=lambda info: (info.stream, info.time)))
        else:
            fitting = [info for info in infos if info.may_have((media.width, media.height))]
            yield from _grab_from_animation(media, {info.frame: info for info in fitting})


def grab_frame(source: Input, stream: int, time: float) -> np.ndarray:
    """Decode the frame at a time.

    Args:
        source: The input.
        stream: Index of a video stream.
        time: In seconds. The first frame at or after it is decoded, or the last one if all are earlier.

    Returns:
        HxWx3 uint8 sRGB, upright; of a still image the image itself.

    Raises:
        InputError: It can't be read, or the stream has no frame.
    """
    with ExitStack() as stack:
        media = open_media(source, stack)
        if isinstance(media, StillImage):
            return media.srgb()
        if isinstance(media, Animation):
            return _displayed_at(media, time)
        is_video = any(video.index == stream for video in media.videos)
        frame = _first_at(media.frames_from(stream, time), time) if is_video else None
    if frame is None:
        raise InputError(f"its stream {stream} has no video frame")
    return frame.rgb()


def _first_at(frames: Iterable[Frame], time: float) -> Frame | None:
    """Return the first frame at that time or later, or else the last; an undamaged one, if possible."""
    found: Frame | None = None
    for frame in frames:
        if found is None or not frame.corrupt:
            found = frame
            if frame.time >= time and not frame.corrupt:
                break
    return found


def _displayed_at(animation: Animation, time: float) -> np.ndarray:
    end = 0.0
    for pixels, milliseconds in animation.frames():
        displayed, end = pixels, end + float(milliseconds) / 1000
        if end > time:
            break
    return animation.srgb(displayed)


def _grab_from_video(reader: VideoReader, infos: Sequence[FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    frames: Iterator[Frame] = iter(())
    stream, at = -1, -math.inf
    for info in infos:
        if info.stream not in {video.index for video in reader.videos}:
            continue
        if info.stream != stream or not 0 <= info.time - at < NO_SEEK_SECONDS:
            frames = reader.frames_from(info.stream, info.time)
        stream, at = info.stream, math.inf
        for frame in frames:
            at = frame.time
            if at > info.time - SAME_TIME:
                if at < info.time + SAME_TIME and info.may_have(frame.display_size):
                    yield info, frame.rgb()
                break


def _grab_from_animation(animation: Animation, infos: dict[int, FrameInfo]) -> Iterator[tuple[FrameInfo, np.ndarray]]:
    """infos: by frame index."""
    for index, (pixels, _) in enumerate(animation.frames()):
        if index in infos:
            yield infos[index], animation.srgb(pixels)
        if index >= max(infos, default=0):
            return
