"""The moments of a video that a model is asked about."""

from collections.abc import Iterator

from mdtool.media.frame import Frame
from mdtool.media.reader import VideoReader
from mdtool.stream.motion import Cuts, coarse
from mdtool.stream.sampling import Sampling

AUTO_SECONDS = 5.0  # from one moment to the next, where no shot begins


def moments(
    video: VideoReader, sampling: Sampling, begin: float | None = None, end: float | None = None
) -> Iterator[Frame]:
    """Frames of its first stream of pictures; of "auto" the first of each shot, and then one every AUTO_SECONDS.

    begin, end: seconds, between which they lie.
    """
    shots = _shots(video) if sampling.auto else ((frame, False) for frame in _frames(video))
    due = begin or 0.0
    for frame, is_first in shots:
        if end is not None and frame.time >= end:
            return
        if begin is not None and frame.time < begin:
            continue
        if frame.index % sampling.stride == 0 if sampling.stride else is_first or frame.time >= due:
            yield frame
            due = frame.time + AUTO_SECONDS if sampling.fps is None else max(due + 1 / sampling.fps, frame.time)


def _frames(video: VideoReader) -> Iterator[Frame]:
    chosen = video.videos[0].index
    return (frame for frame in video if isinstance(frame, Frame) and frame.stream == chosen)


def _shots(video: VideoReader) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether a shot begins with it."""
    cuts, before = Cuts(), None
    for frame in _frames(video):
        seen = coarse(frame.luma)
        yield frame, before is None or cuts.between(before, seen)
        before = seen
