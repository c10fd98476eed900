"""The moments of a video that a model is asked about."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from mdtool.errors import InputError
from mdtool.interruption import check_not_ending
from mdtool.jobs.inference.image_input import Shot
from mdtool.media.sources.open_media import open_medium
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.run import Inquiry, Live
from mdtool.pipeline.stages import Pause, ahead_with_pauses
from mdtool.tracking.cuts import Cuts, coarse
from mdtool.tracking.sampling import Sampling

AUTO_SECONDS = 5.0  # from one moment to the next, where no shot begins
FRAMES_AHEAD = 2


@dataclass(frozen=True)
class Films:
    """What of a video is asked about: which frames, between which times (seconds).

    inquiry: finds things in all frames, and findings are written then, not records of frames; tiled: in photos too.
    live: how that is done with what plays now.
    """

    sampling: Sampling = Sampling()
    start: float | None = None
    end: float | None = None
    inquiry: Inquiry | None = None
    tiled: bool = False
    live: Live = Live()


@dataclass
class Film:
    """A video that is being asked about. frames, finished: how many there are, and are answered; ended: there are no
    more. error: why it can't be answered; incomplete: what is wrong with it, so that a part is missing.
    """

    shot: Shot
    size: tuple[int, int] = (0, 0)
    frames: int = 0
    finished: int = 0
    ended: bool = False
    error: Exception | None = None
    incomplete: str = ""
    is_live: bool = False
    since: float = field(default_factory=time.perf_counter)

    @property
    def is_done(self) -> bool:
        return self.ended and self.finished == self.frames


def frames_of(
    film: Film,
    films: Films,
    answered: set[float],
    numbers: "count[int]",
    is_late: Callable[[], bool],
    timeout: float | None,
) -> Iterator[Shot | None]:
    """Those that are not answered; None: there is nothing yet. answered: the times of those that are.

    is_late: tells that no other is to be begun; the film does not end then. timeout: seconds that reading a frame may
    take, those between the ones that are asked about too.
    """
    shot = film.shot
    try:
        with closing(ahead_with_pauses(_pictures(film, films), FRAMES_AHEAD, timeout)) as pictures:
            for picture in pictures:
                if is_late():
                    return
                if isinstance(picture, Pause):
                    yield None
                    continue
                at, pixels = picture
                film.frames += 1
                film.size = pixels.shape[1], pixels.shape[0]
                if at in answered:
                    film.finished += 1
                else:
                    number = next(numbers)
                    yield Shot(shot.source, pixels, version=shot.version, time=at, part_of=film, number=number)
    except Exception as error:
        check_not_ending()  # else the interruption may have come out as an error of what was under way
        film.error = error
    film.ended = True
    film.shot = replace(shot, number=next(numbers))


def _pictures(film: Film, films: Films) -> Iterator[tuple[float, np.ndarray] | Pause]:
    """Times in seconds, and HxWx3 uint8 RGB."""
    with ExitStack() as stack:
        video = open_medium(film.shot.source, stack)
        if not isinstance(video, VideoReader):
            raise InputError("is no picture or video of a kind that mdtool reads")
        for frame in moments(video, films.sampling, films.start, films.end):
            yield (round(frame.time, 3), frame.rgb()) if frame else Pause()
        film.incomplete = f"is damaged: {video.damage}" if video.damage else ""


def moments(
    video: VideoReader, sampling: Sampling, start: float | None = None, end: float | None = None
) -> Iterator[Frame | None]:
    """Frames of its first stream of pictures; of "auto" the first of each shot, and then one every AUTO_SECONDS.

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
