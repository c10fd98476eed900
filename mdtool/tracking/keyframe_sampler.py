"""From frames to frames with their regions: which ones the model sees, and what that says about the others.

Frames are held back in a window until the looks on both sides of them are known. In a window:
cuts are found on every frame, with a look on both sides; between two looks of one shot boxes are carried both ways by
optical flow; where the two disagree, or where something new shows in between, the model looks again in the middle.
An object that is seen for the first time is also followed back in time, and one that is lost is followed on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.records.findings import Moment, Region, Verdict
from mdtool.tracking.sampling import CALM_FACTOR, Sampling
from mdtool.tracking.tracker import Follower
from mdtool.tracking.tracks import Sighting, carried
from mdtool.tracking.window import Held, Window
from recipes.boxes import match, size

WINDOW_FRAMES = 48
LEAST_FRAMES, MOST_FRAMES = 8, 160
WINDOW_BYTES = 512 << 20
AGREEMENT = 0.4  # least IoU of a box carried from one look with the same object's box in the next
NEWS_GAP = 8  # frames between two looks below which nothing is searched for in between
NEWS_BLOCKS = 3
NEWS_LOOKS = 2  # a window
ASTRAY = 0.5  # of its own size: how far an object that the model is not sure of must move to be looked for
LOOKS_SHARE = 0.18  # of a window's frames; beyond it, doubt is met by covering more instead of looking again


@dataclass
class Judged:
    """A frame and what is known of it."""

    frame: Frame
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def moment(self) -> Moment:
        one = self.frame
        return Moment(one.stream, one.index, one.time, float(one.duration * one.time_base), one.shown_size)


Seen = tuple[list[Sighting], Mapping[str, str]]  # the objects on a frame, and replies to questions about it
Look = Callable[[Sequence[Frame]], "list[Seen | None]"]  # None for a frame on which the model failed


@dataclass
class Budget:
    """Looks that may still be taken, by all watchers of a run together; None: any number."""

    left: int | None = None

    def take(self, wanted: int) -> int:
        if self.left is None:
            return wanted
        granted = min(wanted, self.left)
        self.left -= granted
        return granted


class Watcher:
    """Takes the frames of one stream in order and gives them back judged, later, in the same order."""

    def __init__(
        self,
        look: Look,
        sampling: Sampling,
        budget: Budget,
        rate: float,
        window: int | None = None,
        tail: int | None = None,
    ) -> None:
        """rate: frames a second. window: frames that are judged together, and may be changed at any time; tail: those
        that are kept for what is first seen after them; None for both: what serves best where there is time."""
        self.window = window
        self._look = look
        self._sampling = sampling
        self._budget = budget
        self._stride = sampling.frames_between(rate)
        self._calm = False  # all looks of the window before told the same story
        self._window = Window()
        self._follower = Follower(self._window, rate, tail)
        self._fresh = 0  # frames of the window that are not judged yet: its last ones
        self._pushed = 0
        self._looks = 0

    def push(self, frame: Frame) -> Iterator[Judged]:
        self._window.append(frame)
        self._fresh += 1
        self._pushed += 1
        if self._fresh >= self._enough(frame):
            self._judge(last=False)
            yield from map(_judged, self._window.release(self._follower.needs))

    def finish(self) -> Iterator[Judged]:
        if self._fresh:
            self._judge(last=True)
        yield from map(_judged, self._window.release(0))

    def _enough(self, frame: Frame) -> int:
        """Frames that are judged together, so that the window holds no more than MOST_FRAMES and WINDOW_BYTES."""
        fitting = WINDOW_BYTES // max(1, frame.nbytes) - self._follower.needs
        if self.window is not None:
            return min(self.window, max(1, fitting))
        return min(max(self._stride, WINDOW_FRAMES), MOST_FRAMES, max(LEAST_FRAMES, fitting))

    def _judge(self, last: bool) -> None:
        end = len(self._window) - 1
        start = end - self._fresh  # the last frame that is judged already, -1 if there is none
        self._see(self._regular(start, end))
        if self._sampling.auto:
            self._see(self._news(start, end))
            settled: set[tuple[int, int]] = set()
            self._calm = True
            while doubtful := self._disagreements(start, end, settled):
                self._calm = False
                self._see(doubtful)
        self._follower.follow(start, end, last)
        self._fresh = 0

    def _regular(self, start: int, end: int) -> list[int]:
        """The looks that are due whatever the picture shows: by stride, and on both sides of every cut."""
        window = self._window
        stride = round(self._stride * CALM_FACTOR) if self._calm else self._stride
        fresh = range(start + 1, end + 1)
        due = {i for i in fresh if window[i].starts_shot} | {i - 1 for i in fresh if window[i].starts_shot and i > 0}
        due.add(end)
        marks = sorted(due | ({start} if start >= 0 else set()))
        for a, b in pairwise(marks):
            if window[b].starts_shot:
                continue
            if self._sampling.auto and not any(self._window.new_blocks(a, i).any() for i in range(a + 1, b + 1)):
                continue
            parts = -(-(b - a) // stride)
            due |= {a + round((b - a) * k / parts) for k in range(1, parts)}
        return [i for i in sorted(due) if window[i].look is None and not window[i].frame.corrupt]

    def _see(self, positions: list[int]) -> None:
        held = [self._window[i] for i in positions[: self._budget.take(len(positions))]]
        self._looks += len(held)
        for one, seen in zip(held, self._look([h.frame for h in held]), strict=True):
            if seen is None:
                one.failed = True
            else:
                one.look, one.replies = seen

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """Neighbouring looks of one shot with frames in between."""
        looks = pairwise(self._window.looked(start, end))
        return [(a, b) for a, b in looks if b - a > 1 and not self._window.cut_between(a, b)]

    def _affordable(self) -> int:
        share = 1 + int(LOOKS_SHARE * self._pushed) - self._looks
        return max(0, share if self._budget.left is None else min(share, self._budget.left))

    def _disagreements(self, start: int, end: int, settled: set[tuple[int, int]]) -> list[int]:
        """Frames midway between looks that contradict each other, the widest gaps first.

        settled: gaps that are known to be in order; grows.
        """
        doubtful = []
        for a, b in self._gaps(start, end):
            middle = (a + b) // 2
            if (a, b) in settled:
                continue
            if self._disagree(a, b) and not self._window[middle].failed:
                doubtful.append((a - b, middle))
            else:
                settled.add((a, b))
        return sorted(middle for _, middle in sorted(doubtful)[: self._affordable()])

    def _news(self, start: int, end: int) -> list[int]:
        """Frames that show most of what neither look beside them shows: something may have come and gone."""
        news = [newest for a, b in self._gaps(start, end) if (newest := self._newest(a, b))]
        most = min(1 if self._calm else NEWS_LOOKS, self._affordable())
        return sorted(at for _, at in sorted(news, reverse=True)[:most])

    def _disagree(self, a: int, b: int) -> bool:
        """Whether the objects seen at a, carried to b, are not those that are seen there, or the other way round."""
        return self._astray(a, b) or self._astray(b, a)

    def _astray(self, start: int, end: int) -> bool:
        """Whether an object seen at `start` has no partner at `end`, where the flow carries it.

        One that the model is not sure of counts only if it moves: those that stay are often no objects at all.
        """
        here, there = self._window[start].look or [], self._window[end].look or []
        if not here:
            return False
        reached = np.array([carried(s.box, start, end, self._window.flow)[-1] for s in here])
        partners = match(reached, np.array([s.box for s in there]).reshape(-1, 4), AGREEMENT)
        alone = set(range(len(here))) - {i for i, _ in partners}
        return any(here[i].sure or _moved(here[i].box, reached[i]) > ASTRAY for i in alone)

    def _newest(self, a: int, b: int) -> tuple[int, int] | None:
        """(blocks, frame) that shows most that neither a nor b shows, away from what is followed anyway."""
        if b - a < NEWS_GAP:
            return None
        followed = self._followed(a, b)
        news = [self._window.new_blocks(a, i) & self._window.new_blocks(b, i) & ~followed for i in range(a + 1, b)]
        blocks, step = max((int(new.sum()), -step) for step, new in enumerate(news))
        return (blocks, a + 1 - step) if NEWS_BLOCKS <= blocks <= 0.3 * followed.size else None

    def _followed(self, a: int, b: int) -> np.ndarray:
        """Blocks that the objects seen at a and b may cross."""
        held = self._window[a]
        blocks = np.zeros(held.coarse.shape, bool)
        scale = np.array(blocks.shape[::-1]) / held.frame.luma.shape[::-1]
        first, last = held.look or [], self._window[b].look or []
        for one, other in zip(first, last, strict=False):
            low = np.minimum(one.box[:2], other.box[:2]) * scale - 1
            high = np.maximum(one.box[2:], other.box[2:]) * scale + 1
            x0, y0 = np.maximum(low, 0).astype(int)
            x1, y1 = np.ceil(high).astype(int)
            blocks[y0:y1, x0:x1] = True
        return blocks


def _judged(held: Held) -> Judged:
    height, width = held.frame.luma.shape
    regions = []
    for cover in held.covers:
        x0, y0 = np.clip(cover.box[:2] / (width, height), 0, 1).tolist()
        x1, y1 = np.clip(cover.box[2:] / (width, height), 0, 1).tolist()
        if x1 > x0 and y1 > y0:
            said = cover.sighting
            regions.append(Region(x0, y0, x1, y1, said.label, cover.track, said.score, cover.seen, said.gaze))
    looked, hidden = held.look is not None, not held.vouched
    return Judged(held.frame, Verdict(regions, looked, hidden, held.starts_shot, dict(held.replies)))


def _moved(before: np.ndarray, after: np.ndarray) -> float:
    """How far a box has gone, in units of its size."""
    return float(np.abs((after - before)[:2] / np.maximum(size(before), 1)).max())
