"""From frames to frames with their regions: which ones the model analyses, and what that says about the others.

Those are the keyframes. Frames are held back in a window until the keyframes on both sides of them are known. In a
window: cuts are found on every frame, with a keyframe on both sides; between two keyframes of one shot boxes are
carried both ways by optical flow; where the two disagree, or where something new shows in between, a frame in the
middle becomes a keyframe too.
An object that is seen for the first time is also followed back in time, and one that is lost is followed on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.tracking.detector import ImageFindings
from mdtool.tracking.sampling import CALM_FACTOR, REGULAR_SHARE, Sampling
from mdtool.tracking.tracked_box import region_of, tracked
from mdtool.tracking.tracker import Tracker
from mdtool.tracking.tracks import carried
from mdtool.tracking.window import BufferedFrame, Window
from recipes.boxes import hull, match, size

WINDOW_FRAMES = 48
LEAST_FRAMES, MOST_FRAMES = 8, 160
WINDOW_BYTES = 512 << 20
AGREEMENT = 0.4  # least IoU of a box carried from one keyframe with the same object's box in the next
NEWS_GAP = 8  # frames between two keyframes below which nothing small is searched for in between
NEWS_BLOCKS = 3
MOSTLY_NEW = 0.3  # of a picture: what neither keyframe beside it shows so much of is analysed too
ASTRAY = 0.5  # of its own size: how far an object that the model is not sure of must move to be searched for
DOUBT_SHARE = 1 - REGULAR_SHARE  # of a limited number of model calls


@dataclass
class AnnotatedFrame:
    """A frame and what is known of it."""

    frame: Frame
    verdict: FrameFindings = field(default_factory=FrameFindings)

    @property
    def moment(self) -> FrameInfo:
        one = self.frame
        return FrameInfo(one.stream, one.index, one.time, float(one.duration * one.time_base), one.shown_size)


Gap = tuple[int, int]  # the positions of two neighbouring keyframes of one shot, with frames in between
ModelCall = Callable[[Sequence[Frame]], "list[ImageFindings | None]"]  # None for a frame on which the model failed


@dataclass
class Budget:
    """Frames that the model may still be called for, by all samplers of a run together; None: any number.

    Doubt is granted a share of them only, or that at the beginning of a video would use up the calls for all the rest.
    """

    left: int | None = None

    def __post_init__(self) -> None:
        self._for_doubt = 0 if self.left is None else int(DOUBT_SHARE * self.left)

    def take(self, wanted: int) -> int:
        if self.left is None:
            return wanted
        granted = min(wanted, self.left)
        self.left -= granted
        return granted

    def take_for_doubt(self, wanted: int) -> int:
        if self.left is None:
            return wanted
        granted = self.take(min(wanted, self._for_doubt))
        self._for_doubt -= granted
        return granted


class KeyframeSampler:
    """Takes the frames of one stream in order and gives them back annotated, later, in the same order."""

    def __init__(
        self,
        model_call: ModelCall,
        sampling: Sampling,
        budget: Budget,
        rate: float,
        *,
        window: int | None = None,
        tail: int | None = None,
    ) -> None:
        """rate: frames a second. window: frames that are annotated together, and may be changed at any time.

        tail: those that are kept for what is first seen after them. None for both: what serves best where there is
        time.
        """
        self.window = window
        self._model_call = model_call
        self._sampling = sampling
        self._budget = budget
        self._stride = sampling.frames_between(rate)
        self._calm = False  # all keyframes of the window before told the same story
        self._window = Window()
        self._tracker = Tracker(self._window, rate, tail)
        self._fresh = 0  # frames of the window that are not annotated yet: its last ones

    def push(self, frame: Frame) -> Iterator[AnnotatedFrame]:
        self._window.append(frame)
        self._fresh += 1
        if self._fresh >= self._enough(frame):
            self._annotate(last=False)
            yield from map(_annotated, self._window.release(self._tracker.needs))

    def finish(self) -> Iterator[AnnotatedFrame]:
        if self._fresh:
            self._annotate(last=True)
        yield from map(_annotated, self._window.release(0))

    def _enough(self, frame: Frame) -> int:
        """Frames that are annotated together, so that the window holds no more than MOST_FRAMES and WINDOW_BYTES."""
        fitting = WINDOW_BYTES // max(1, frame.nbytes) - self._tracker.needs
        if self.window is not None:
            return min(self.window, max(1, fitting))
        return min(max(self._stride, WINDOW_FRAMES), MOST_FRAMES, max(LEAST_FRAMES, fitting))

    def _annotate(self, last: bool) -> None:
        end = len(self._window) - 1
        start = end - self._fresh  # the last frame that is annotated already, -1 if there is none
        regular = self._regular(start, end)
        self._detect(regular[: self._budget.take(len(regular))])
        if self._sampling.auto:
            self._settle(start, end)
        self._tracker.follow(start, end, last)
        self._fresh = 0

    def _settle(self, start: int, end: int) -> None:
        """Adds keyframes until no two neighbouring ones leave a doubt about the frames between them."""
        settled: set[Gap] = set()
        self._fill(self._small_news(start, end), settled)
        self._calm = True
        while doubts := self._doubts(start, end, settled):
            self._fill(doubts, settled)

    def _fill(self, doubts: Mapping[Gap, int], settled: set[Gap]) -> None:
        """Makes one frame in each gap a keyframe, the widest first. Where no call is left nobody can vouch."""
        widest = sorted(doubts, key=lambda gap: gap[0] - gap[1])
        granted = self._budget.take_for_doubt(len(widest))
        self._detect(sorted(doubts[gap] for gap in widest[:granted]))
        for a, b in widest[granted:]:
            settled.add((a, b))
            for i in range(a + 1, b):
                self._window[i].doubtful = True

    def _regular(self, start: int, end: int) -> list[int]:
        """The keyframes that are due whatever the picture shows: by stride, and on both sides of every cut."""
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
        return [i for i in sorted(due) if window[i].detections is None and not window[i].frame.corrupt]

    def _detect(self, positions: list[int]) -> None:
        keyframes = [self._window[i] for i in positions]
        for one, found in zip(keyframes, self._model_call([k.frame for k in keyframes]), strict=True):
            if found is None:
                one.failed = True
            else:
                one.detections = [tracked(region, one.frame.luma) for region in found.regions]
                one.replies = found.replies

    def _gaps(self, start: int, end: int) -> list[Gap]:
        neighbours = pairwise(self._window.keyframes(start, end))
        return [(a, b) for a, b in neighbours if b - a > 1 and not self._window.cut_between(a, b)]

    def _small_news(self, start: int, end: int) -> dict[Gap, int]:
        """By gap, the frame on which something small may have come and gone."""
        gaps = [gap for gap in self._gaps(start, end) if gap[1] - gap[0] >= NEWS_GAP]
        return {gap: at for gap in gaps if (at := self._newest(gap, NEWS_BLOCKS)) is not None}

    def _doubts(self, start: int, end: int, settled: set[Gap]) -> dict[Gap, int]:
        """By gap, the frame that is to be analysed: the keyframes beside it contradict each other, or show none of it.

        settled: gaps that are known to be in order; grows.
        """
        doubts = {}
        for gap in self._gaps(start, end):
            if gap in settled:
                continue
            between = self._between(gap)
            if between and self._disagree(*gap):
                self._calm = False
                doubts[gap] = min(between, key=lambda i: abs(2 * i - sum(gap)))
            elif (newest := self._newest(gap, MOSTLY_NEW * self._window[gap[0]].coarse.size)) is not None:
                doubts[gap] = newest
            else:
                settled.add(gap)
        return doubts

    def _between(self, gap: Gap) -> list[int]:
        """The frames that the model may be asked about."""
        return [i for i in range(gap[0] + 1, gap[1]) if not self._window[i].failed]

    def _disagree(self, a: int, b: int) -> bool:
        """Whether the objects seen at a, carried to b, are not those that are seen there, or the other way round."""
        return self._astray(a, b) or self._astray(b, a)

    def _astray(self, start: int, end: int) -> bool:
        """Whether an object seen at `start` has no partner at `end`, where the flow carries it.

        One that the model is not sure of counts only if it moves: those that stay are often no objects at all.
        """
        here = self._window[start].detections or []
        reached, partners = self._partners(start, end)
        alone = set(range(len(here))) - {i for i, _ in partners}
        return any(here[i].sure or _moved(here[i].box, reached[i]) > ASTRAY for i in alone)

    def _partners(self, start: int, end: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Where the flow carries the objects seen at `start`, and which of them is which of those seen at `end`."""
        here, there = self._window[start].detections or [], self._window[end].detections or []
        reached = np.array([carried(s.box, start, end, self._window.flow)[-1] for s in here]).reshape(-1, 4)
        return reached, match(reached, np.array([s.box for s in there]).reshape(-1, 4), AGREEMENT)

    def _newest(self, gap: Gap, least: float) -> int | None:
        """The frame that shows most that neither end of the gap shows, away from what is followed anyway.

        None if no frame has that on `least` blocks.
        """
        new, followed = self._window.new_blocks, self._followed(*gap)
        blocks = {i: int((new(gap[0], i) & new(gap[1], i) & ~followed).sum()) for i in self._between(gap)}
        newest = max(blocks, key=blocks.__getitem__, default=None)
        return newest if newest is not None and blocks[newest] >= least else None

    def _followed(self, a: int, b: int) -> np.ndarray:
        """Blocks that the objects seen at both a and b may cross."""
        start = self._window[a]
        blocks = np.zeros(start.coarse.shape, bool)
        scale = np.array(blocks.shape[::-1]) / start.frame.luma.shape[::-1]
        first, last = start.detections or [], self._window[b].detections or []
        for i, j in self._partners(a, b)[1]:
            box = hull(first[i].box, last[j].box)
            low, high = box[:2] * scale - 1, box[2:] * scale + 1
            x0, y0 = np.maximum(low, 0).astype(int)
            x1, y1 = np.ceil(high).astype(int)
            blocks[y0:y1, x0:x1] = True
        return blocks


def _annotated(one: BufferedFrame) -> AnnotatedFrame:
    regions = [region for box in one.boxes if (region := region_of(box, one.frame.luma))]
    looked, hidden = one.detections is not None, not one.vouched
    return AnnotatedFrame(one.frame, FrameFindings(regions, looked, hidden, one.starts_shot, dict(one.replies)))


def _moved(before: np.ndarray, after: np.ndarray) -> float:
    """How far a box has gone, in units of its size."""
    return float(np.abs((after - before)[:2] / np.maximum(size(before), 1)).max())
