"""Interpolate box sizes and gazes linearly between the keyframes of each track.

Between keyframes the tracker's boxes are enlarged to surely cover the object: right in position, too large.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from engine.contract import Point
from mdtool.records.findings import Record
from recipes.gaze import is_saccade
from recipes.regions import GazeEstimate, Region

MAX_GAP_SECONDS = 2.0  # longest time between two keyframes to interpolate over
MAX_BUFFERED_FRAMES = 1024  # bounds the buffer where timestamps do not increase


def interpolate_keyframes(records: Iterable[Record]) -> Iterator[Record]:
    """Interpolate the sizes and gazes of one source's objects between their keyframes.

    A gaze that jumps, leaves or enters the image, or is unknown on one of the two keyframes is not interpolated: the
    first keyframe's value holds for the first half of the time between, the second's for the rest.

    Args:
        records: Records of one source; those of each stream in order.

    Yields:
        The records, in the order of each stream, delayed by MAX_GAP_SECONDS.
    """
    streams: dict[int, _Stream] = {}
    for record in records:
        yield from streams.setdefault(record.info.stream, _Stream()).push(record)
    for stream in streams.values():
        yield from stream.frames


class _Stream:
    """Buffers the frames of one stream that the next keyframe may change."""

    def __init__(self) -> None:
        self.frames: deque[Record] = deque()
        self._last_keyframe: dict[int, tuple[float, Region]] = {}  # track -> time and region there

    def push(self, record: Record) -> Iterator[Record]:
        now = record.info.time
        self._last_keyframe = {
            track: last for track, last in self._last_keyframe.items() if now - last[0] <= MAX_GAP_SECONDS
        }
        for region in record.findings.regions:
            if region.seen:
                if region.track in self._last_keyframe:
                    self._interpolate(*self._last_keyframe[region.track], now, region)
                self._last_keyframe[region.track] = now, region
        self.frames.append(record)
        while now - self.frames[0].info.time >= MAX_GAP_SECONDS or len(self.frames) > MAX_BUFFERED_FRAMES:
            yield self.frames.popleft()

    def _interpolate(self, begin: float, first: Region, end: float, last: Region) -> None:
        """Change one track between its keyframes at `begin` and `end` seconds."""
        for at, record in enumerate(self.frames):
            if begin < record.info.time < end:
                fraction = (record.info.time - begin) / (end - begin)
                regions = [
                    _interpolated_region(first, last, fraction, region) if region.track == first.track else region
                    for region in record.findings.regions
                ]
                self.frames[at] = replace(record, findings=replace(record.findings, regions=regions))


def _interpolated_region(first: Region, last: Region, fraction: float, region: Region) -> Region:
    """Return the tracked region with interpolated size and gaze; `fraction` runs from 0 at `first` to 1 at `last`."""
    width = (1 - fraction) * (first.x_max - first.x_min) + fraction * (last.x_max - last.x_min)
    height = (1 - fraction) * (first.y_max - first.y_min) + fraction * (last.y_max - last.y_min)
    return replace(resize_region(region, width, height), gaze=_interpolated_gaze(first, last, fraction))


def resize_region(region: Region, width: float, height: float) -> Region:
    """Resize a region to a width and height in fractions of the image, about its centre."""
    x, y = (region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2
    return region.at((x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def _interpolated_gaze(first: Region, last: Region, fraction: float) -> GazeEstimate | None:
    gaze, gaze_after = first.gaze, last.gaze
    if gaze and gaze_after and gaze.target and gaze_after.target and gaze.method == gaze_after.method:
        target, target_after = Point(*gaze.target), Point(*gaze_after.target)
        if not is_saccade(gaze.method, (first, target), (last, target_after)):
            x, y = target.x + fraction * (target_after.x - target.x), target.y + fraction * (target_after.y - target.y)
            return replace(gaze, target=(x, y))
    return gaze if fraction < 0.5 else gaze_after
