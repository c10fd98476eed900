"""The moments of a video that a model is asked about."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from mdtool.errors import InputError
from mdtool.jobs.batch.messages import VideoTask
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_media
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.stages import Idle
from mdtool.tracking.cuts import CutDetector, luma_grid
from mdtool.tracking.sampling import Sampling

AUTO_INTERVAL_SECONDS = 5.0  # from one moment to the next, where no shot begins


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """time: seconds. pixels: HxWx3 uint8 RGB."""

    time: float
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoDamage:
    """What is wrong with a video, so that a part is missing."""

    text: str


def sampled_frames(source: Input, videos: VideoTask) -> Iterator[VideoFrame | VideoDamage | Idle]:
    """Those that are asked about; an Idle for each that is passed over, and at the end maybe VideoDamage.

    Raises InputError.
    """
    with ExitStack() as stack:
        video = open_media(source, stack)
        if not isinstance(video, VideoReader):
            raise InputError("is no picture or video of a kind that mdtool reads")
        for frame in select_frames(video, videos.sampling, videos.start, videos.end):
            yield VideoFrame(round(frame.time, 3), frame.rgb()) if frame else Idle()
        if video.damage:
            yield VideoDamage(f"is damaged: {video.damage}")


def select_frames(
    video: VideoReader, sampling: Sampling, start: float | None = None, end: float | None = None
) -> Iterator[Frame | None]:
    """Frames of its first stream of pictures; of "auto" the first of each shot, and then one every
    AUTO_INTERVAL_SECONDS.

    None for each that is passed over.
    """
    shots = _shots(video) if sampling.auto else ((frame, False) for frame in _frames(video))
    due = start or 0.0
    for frame, is_first in shots:
        if end is not None and frame.time >= end:
            return
        is_due = frame.index % sampling.stride == 0 if sampling.stride else is_first or frame.time >= due
        if not is_due or (start is not None and frame.time < start):
            yield None
        else:
            yield frame
            due = (
                frame.time + AUTO_INTERVAL_SECONDS if sampling.fps is None else max(due + 1 / sampling.fps, frame.time)
            )


def _frames(video: VideoReader) -> Iterator[Frame]:
    chosen = video.videos[0].index
    return (frame for frame in video if isinstance(frame, Frame) and frame.stream == chosen)


def _shots(video: VideoReader) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether a shot begins with it."""
    cuts, before = CutDetector(), None
    for frame in _frames(video):
        seen = luma_grid(frame.luma)
        yield frame, before is None or cuts.between(before, seen)
        before = seen
