"""Samples the frames of a video that get requests."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from mdtool.errors import InputError
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.batch.messages import VideoTask
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_media
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.annotate import no_frame_in_span
from mdtool.pipeline.stages import Idle
from mdtool.tracking.cuts import CutDetector, luma_grid
from mdtool.tracking.sampling import Sampling

AUTO_INTERVAL_SECONDS = 5.0  # between frames within a shot


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A sampled frame.

    Attributes:
        time: Seconds.
        pixels: HxWx3 uint8 RGB.
    """

    time: float
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoDamage:
    """What is wrong with a video, a part of which could not be decoded."""

    text: str


def sampled_frames(source: Input, videos: VideoTask) -> Iterator[VideoFrame | VideoDamage | Idle]:
    """Decode and sample the frames of a video.

    Yields:
        The sampled frames; an Idle for each frame between them; at the end VideoDamage, if there was any.

    Raises:
        InputError: It can't be read.
    """
    with ExitStack() as stack:
        video = open_media(source, stack)
        if not isinstance(video, VideoReader):
            raise InputError("not an image or video in a format that mdtool reads")
        for frame in select_frames(video, videos.sampling, videos.start, videos.end):
            yield VideoFrame(round(frame.time, 3), frame.rgb()) if frame else Idle()
        if video.damage:
            yield VideoDamage(f"damaged: {video.damage}")


def select_frames(
    video: VideoReader, sampling: Sampling, start: float | None = None, end: float | None = None
) -> Iterator[Frame | None]:
    """Sample the frames of the first video stream.

    Args:
        video: The open video.
        sampling: "auto" takes the first frame of each shot, then one every AUTO_INTERVAL_SECONDS.
        start: Time of the first frame, in seconds.
        end: Time to stop before, in seconds.

    Yields:
        The sampled frames, and None for each frame between them.

    Raises:
        InputError: At the end, if there is no frame from `start` to `end`.
    """
    shots = _shots(video) if sampling.auto else ((frame, False) for frame in _frames(video))
    due, is_met, last = start or 0.0, False, 0.0
    for frame, is_first in shots:
        last = frame.time
        if end is not None and frame.time >= end:
            break
        is_met |= start is None or frame.time >= start
        is_due = frame.index % sampling.stride == 0 if sampling.stride else is_first or frame.time >= due
        if not is_due or (start is not None and frame.time < start):
            yield None
        else:
            yield frame
            due = (
                frame.time + AUTO_INTERVAL_SECONDS if sampling.fps is None else max(due + 1 / sampling.fps, frame.time)
            )
    raise_if_interrupted()  # an interrupted reader looks like one at its end
    if not is_met:
        raise InputError(no_frame_in_span(last))


def _frames(video: VideoReader) -> Iterator[Frame]:
    stream = video.videos[0].index
    return (frame for frame in video if isinstance(frame, Frame) and frame.stream == stream)


def _shots(video: VideoReader) -> Iterator[tuple[Frame, bool]]:
    """Yield each frame, and whether it is the first of a shot."""
    cuts = CutDetector()
    for frame in _frames(video):
        starts_shot, _ = cuts.next(luma_grid(frame.luma))
        yield frame, starts_shot
