"""Where people look between two keyframes that show them, and how large their faces and the things around them are.

In between, these were followed with boxes that cover them for certain: the middle is right, the size is too large.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from engine.contract import Point
from mdtool.records.findings import Record
from recipes.gaze import is_saccade
from recipes.regions import GazeEstimate, Region

MAX_GAP_SECONDS = 2.0  # seconds between two keyframes over which what they show tells about the frames in between
MAX_BUFFERED_FRAMES = 1024  # frames, where their times do not go on


def interpolate_keyframes(records: Iterable[Record]) -> Iterator[Record]:
    """The same records of one source, with sizes and gazes that go evenly from one keyframe to the next of an object.

    A gaze that jumped, went out of the picture or came back, or that was not known on one of the two keyframes, did so
    at a time that nobody knows: it is held until midway, and is from there on as it is on the second keyframe. The
    order of each stream is kept; MAX_GAP_SECONDS seconds of its frames are held back.
    """
    streams: dict[int, _Stream] = {}
    for record in records:
        yield from streams.setdefault(record.info.stream, _Stream()).push(record)
    for held in streams.values():
        yield from held.frames


class _Stream:
    """Frames of one stream that the next keyframe may still tell about. seen: each track on its last keyframe."""

    def __init__(self) -> None:
        self.frames: deque[Record] = deque()
        self._seen: dict[int, tuple[float, Region]] = {}

    def push(self, record: Record) -> Iterator[Record]:
        now = record.info.time
        self._seen = {track: seen for track, seen in self._seen.items() if now - seen[0] <= MAX_GAP_SECONDS}
        for region in record.findings.regions:
            if region.seen:
                if region.track in self._seen:
                    self._interpolate(*self._seen[region.track], now, region)
                self._seen[region.track] = now, region
        self.frames.append(record)
        while now - self.frames[0].info.time >= MAX_GAP_SECONDS or len(self.frames) > MAX_BUFFERED_FRAMES:
            yield self.frames.popleft()

    def _interpolate(self, begin: float, first: Region, end: float, last: Region) -> None:
        """Between two keyframes with the same object, at the times `begin` and `end`."""
        for at, record in enumerate(self.frames):
            if begin < record.info.time < end:
                part = (record.info.time - begin) / (end - begin)
                regions = [
                    _between(first, last, part, region) if region.track == first.track else region
                    for region in record.findings.regions
                ]
                self.frames[at] = replace(record, findings=replace(record.findings, regions=regions))


def _between(first: Region, last: Region, part: float, region: Region) -> Region:
    """The region that was carried there, as large as its object, with its gaze. part: of the way to the last, 0..1."""
    width = (1 - part) * (first.x_max - first.x_min) + part * (last.x_max - last.x_min)
    height = (1 - part) * (first.y_max - first.y_min) + part * (last.y_max - last.y_min)
    return replace(resize_region(region, width, height), gaze=_gaze_between(first, last, part))


def resize_region(region: Region, width: float, height: float) -> Region:
    """The same of that size, with its middle where it was."""
    x, y = (region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2
    return region.at((x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def _gaze_between(first: Region, last: Region, part: float) -> GazeEstimate | None:
    one, other = first.gaze, last.gaze
    if one and other and one.target and other.target and one.method == other.method:
        target, target_after = Point(*one.target), Point(*other.target)
        if not is_saccade(one.method, (first, target), (last, target_after)):
            x, y = target.x + part * (target_after.x - target.x), target.y + part * (target_after.y - target.y)
            return replace(one, target=(x, y))
    return one if part < 0.5 else other
