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
from mdtool.tracking.sampling import REGULAR_SHARE, STABLE_FACTOR, Sampling
from mdtool.tracking.tracked_box import to_region, to_tracked_box
from mdtool.tracking.tracker import Tracker
from mdtool.tracking.tracks import propagate
from mdtool.tracking.window import BufferedFrame, Window
from recipes.boxes import hull, match, size

WINDOW_FRAMES = 48
LEAST_FRAMES, MOST_FRAMES = 8, 160
WINDOW_BYTES = 512 << 20
AGREEMENT_IOU = 0.4  # least IoU of a box carried from one keyframe with the same object's box in the next
NOVELTY_MIN_GAP = 8  # frames between two keyframes below which nothing small is searched for in between
NOVELTY_MIN_BLOCKS = 3
NOVELTY_SHARE = 0.3  # of a picture: what neither keyframe beside it shows so much of is analysed too
MIN_MOTION = 0.5  # of its own size: how far an object that the model is not sure of must move to be searched for
REFINEMENT_SHARE = 1 - REGULAR_SHARE  # of a limited number of model calls


@dataclass
class AnnotatedFrame:
    """A frame and what is known of it."""

    frame: Frame
    findings: FrameFindings = field(default_factory=FrameFindings)

    @property
    def info(self) -> FrameInfo:
        one = self.frame
        return FrameInfo(one.stream, one.index, one.time, float(one.duration * one.time_base), one.display_size)


Gap = tuple[int, int]  # the positions of two neighbouring keyframes of one shot, with frames in between
ModelCall = Callable[[Sequence[Frame]], "list[ImageFindings | None]"]  # None for a frame on which the model failed


@dataclass
class CallBudget:
    """Frames that the model may still be called for, by all samplers of a run together; None: any number.

    Doubt is granted a share of them only, or that at the beginning of a video would use up the calls for all the rest.
    """

    left: int | None = None

    def __post_init__(self) -> None:
        self._for_refinement = 0 if self.left is None else int(REFINEMENT_SHARE * self.left)

    def spend(self, wanted: int) -> int:
        if self.left is None:
            return wanted
        granted = min(wanted, self.left)
        self.left -= granted
        return granted

    def spend_on_refinement(self, wanted: int) -> int:
        if self.left is None:
            return wanted
        granted = self.spend(min(wanted, self._for_refinement))
        self._for_refinement -= granted
        return granted


class KeyframeSampler:
    """Takes the frames of one stream in order and gives them back annotated, later, in the same order."""

    def __init__(
        self,
        model_call: ModelCall,
        sampling: Sampling,
        budget: CallBudget,
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
        self._stable = False  # all keyframes of the window before told the same story
        self._window = Window()
        self._tracker = Tracker(self._window, rate, tail)
        self._fresh = 0  # frames of the window that are not annotated yet: its last ones

    def push(self, frame: Frame) -> Iterator[AnnotatedFrame]:
        self._window.append(frame)
        self._fresh += 1
        if self._fresh >= self._window_size(frame):
            self._annotate(last=False)
            yield from map(_annotated, self._window.release(self._tracker.lookback))

    def finish(self) -> Iterator[AnnotatedFrame]:
        if self._fresh:
            self._annotate(last=True)
        yield from map(_annotated, self._window.release(0))

    def _window_size(self, frame: Frame) -> int:
        """Frames that are annotated together, so that the window holds no more than MOST_FRAMES and WINDOW_BYTES."""
        fitting = WINDOW_BYTES // max(1, frame.nbytes) - self._tracker.lookback
        if self.window is not None:
            return min(self.window, max(1, fitting))
        return min(max(self._stride, WINDOW_FRAMES), MOST_FRAMES, max(LEAST_FRAMES, fitting))

    def _annotate(self, last: bool) -> None:
        end = len(self._window) - 1
        start = end - self._fresh  # the last frame that is annotated already, -1 if there is none
        regular = self._scheduled_keyframes(start, end)
        self._detect(regular[: self._budget.spend(len(regular))])
        if self._sampling.auto:
            self._refine_keyframes(start, end)
        self._tracker.update(start, end, last)
        self._fresh = 0

    def _refine_keyframes(self, start: int, end: int) -> None:
        """Adds keyframes until no two neighbouring ones leave a doubt about the frames between them."""
        settled: set[Gap] = set()
        self._add_keyframes(self._novelty_gaps(start, end), settled)
        self._stable = True
        while ambiguous := self._ambiguous_gaps(start, end, settled):
            self._add_keyframes(ambiguous, settled)

    def _add_keyframes(self, ambiguous: Mapping[Gap, int], settled: set[Gap]) -> None:
        """Makes one frame in each gap a keyframe, the widest first. Where no call is left nobody can vouch."""
        widest = sorted(ambiguous, key=lambda gap: gap[0] - gap[1])
        granted = self._budget.spend_on_refinement(len(widest))
        self._detect(sorted(ambiguous[gap] for gap in widest[:granted]))
        for a, b in widest[granted:]:
            settled.add((a, b))
            for i in range(a + 1, b):
                self._window[i].is_ambiguous = True

    def _scheduled_keyframes(self, start: int, end: int) -> list[int]:
        """The keyframes that are due whatever the picture shows: by stride, and on both sides of every cut."""
        window = self._window
        stride = round(self._stride * STABLE_FACTOR) if self._stable else self._stride
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
                one.detections = [to_tracked_box(region, one.frame.luma) for region in found.regions]
                one.replies = found.replies

    def _gaps(self, start: int, end: int) -> list[Gap]:
        neighbours = pairwise(self._window.keyframes(start, end))
        return [(a, b) for a, b in neighbours if b - a > 1 and not self._window.cut_between(a, b)]

    def _novelty_gaps(self, start: int, end: int) -> dict[Gap, int]:
        """By gap, the frame on which something small may have come and gone."""
        gaps = [gap for gap in self._gaps(start, end) if gap[1] - gap[0] >= NOVELTY_MIN_GAP]
        return {gap: at for gap in gaps if (at := self._most_novel(gap, NOVELTY_MIN_BLOCKS)) is not None}

    def _ambiguous_gaps(self, start: int, end: int, settled: set[Gap]) -> dict[Gap, int]:
        """By gap, the frame that is to be analysed: the keyframes beside it contradict each other, or show none of it.

        settled: gaps that are known to be in order; grows.
        """
        ambiguous = {}
        for gap in self._gaps(start, end):
            if gap in settled:
                continue
            between = self._between(gap)
            if between and self._disagree(*gap):
                self._stable = False
                ambiguous[gap] = min(between, key=lambda i: abs(2 * i - sum(gap)))
            elif (newest := self._most_novel(gap, NOVELTY_SHARE * self._window[gap[0]].luma_grid.size)) is not None:
                ambiguous[gap] = newest
            else:
                settled.add(gap)
        return ambiguous

    def _between(self, gap: Gap) -> list[int]:
        """The frames that the model may be asked about."""
        return [i for i in range(gap[0] + 1, gap[1]) if not self._window[i].failed]

    def _disagree(self, a: int, b: int) -> bool:
        """Whether the objects seen at a, carried to b, are not those that are seen there, or the other way round."""
        return self._has_unmatched(a, b) or self._has_unmatched(b, a)

    def _has_unmatched(self, start: int, end: int) -> bool:
        """Whether an object seen at `start` has no partner at `end`, where the flow carries it.

        One that the model is not sure of counts only if it moves: those that stay are often no objects at all.
        """
        here = self._window[start].detections or []
        reached, partners = self._partners(start, end)
        alone = set(range(len(here))) - {i for i, _ in partners}
        return any(here[i].confident or _moved(here[i].box, reached[i]) > MIN_MOTION for i in alone)

    def _partners(self, start: int, end: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Where the flow carries the objects seen at `start`, and which of them is which of those seen at `end`."""
        here, there = self._window[start].detections or [], self._window[end].detections or []
        reached = np.array([propagate(s.box, start, end, self._window.flow)[-1] for s in here]).reshape(-1, 4)
        return reached, match(reached, np.array([s.box for s in there]).reshape(-1, 4), AGREEMENT_IOU)

    def _most_novel(self, gap: Gap, least: float) -> int | None:
        """The frame that shows most that neither end of the gap shows, away from what is followed anyway.

        None if no frame has that on `least` blocks.
        """
        new, followed = self._window.new_blocks, self._followed(*gap)
        blocks = {i: int((new(gap[0], i) & new(gap[1], i) & ~followed).sum()) for i in self._between(gap)}
        newest = max(blocks, key=blocks.__getitem__, default=None)
        return newest if newest is not None and blocks[newest] >= least else None

    def _followed(self, a: int, b: int) -> np.ndarray:
        """MetadataBlocks that the objects seen at both a and b may cross."""
        start = self._window[a]
        blocks = np.zeros(start.luma_grid.shape, bool)
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
    regions = [region for box in one.boxes if (region := to_region(box, one.frame.luma))]
    analysed, hidden = one.detections is not None, not one.is_covered
    return AnnotatedFrame(one.frame, FrameFindings(regions, analysed, hidden, one.starts_shot, dict(one.replies)))


def _moved(before: np.ndarray, after: np.ndarray) -> float:
    """How far a box has gone, in units of its size."""
    return float(np.abs((after - before)[:2] / np.maximum(size(before), 1)).max())
