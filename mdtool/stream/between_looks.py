"""Where people look between two looks of the model at them, and how large their faces are.

In between, a face was followed with a box that covers it for certain: its middle is right, its size is too large.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mdtool.findings import Gazed, Record, Region

LONGEST = 2.0  # seconds between two looks over which a face is taken to have changed evenly from the one to the other
MOST_HELD = 1024  # frames, where their times do not go on


def between_looks(records: Iterable[Record]) -> Iterator[Record]:
    """The same records of one source, with gazes and sizes that go evenly from one look to the next at the same face.

    A gaze that is out of the picture at one of the two, or not known, stays as it was at the first. The order of each
    stream is kept; LONGEST seconds of its frames are held back.
    """
    streams: dict[int, _Held] = {}
    for record in records:
        yield from streams.setdefault(record.moment.stream, _Held()).push(record)
    for held in streams.values():
        yield from held.frames


class _Held:
    """Frames of one stream that the next look may still tell about. seen: each track at its last look."""

    def __init__(self) -> None:
        self.frames: deque[Record] = deque()
        self._seen: dict[int, tuple[float, Region]] = {}

    def push(self, record: Record) -> Iterator[Record]:
        now = record.moment.time
        self._seen = {track: seen for track, seen in self._seen.items() if now - seen[0] <= LONGEST}
        for region in record.verdict.regions:
            if region.seen and region.gaze:
                if region.track in self._seen:
                    self._even_out(*self._seen[region.track], now, region)
                self._seen[region.track] = now, region
        self.frames.append(record)
        while now - self.frames[0].moment.time >= LONGEST or len(self.frames) > MOST_HELD:
            yield self.frames.popleft()

    def _even_out(self, begin: float, first: Region, end: float, last: Region) -> None:
        """Between two looks at the same face, at the times `begin` and `end`."""
        for at, record in enumerate(self.frames):
            if begin < record.moment.time < end:
                part = (record.moment.time - begin) / (end - begin)
                regions = [
                    _between(first, last, part, region) if region.track == first.track else region
                    for region in record.verdict.regions
                ]
                self.frames[at] = replace(record, verdict=replace(record.verdict, regions=regions))


def _between(first: Region, last: Region, part: float, region: Region) -> Region:
    """The region that was carried there, as large as the face is, with its gaze. part: of the way to the last, 0..1."""
    spans = [
        ((low + high) / 2, (1 - part) * before + part * after)
        for low, high, before, after in (
            (region.x_min, region.x_max, first.x_max - first.x_min, last.x_max - last.x_min),
            (region.y_min, region.y_max, first.y_max - first.y_min, last.y_max - last.y_min),
        )
    ]
    (x, width), (y, height) = spans
    return replace(
        region,
        x_min=x - width / 2,
        y_min=y - height / 2,
        x_max=x + width / 2,
        y_max=y + height / 2,
        gaze=_gaze_between(first.gaze, last.gaze, part),
    )


def _gaze_between(first: Gazed | None, last: Gazed | None, part: float) -> Gazed | None:
    if not (first and last and first.target and last.target and first.method == last.method):
        return first
    (x0, y0), (x1, y1) = first.target, last.target
    return replace(first, target=(x0 + part * (x1 - x0), y0 + part * (y1 - y0)))
