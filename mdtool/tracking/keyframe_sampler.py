"""Choose the keyframes on which the model runs, and track boxes from them to all other frames.

Frames are buffered in a window until the keyframes on both sides of them are known. Cuts are detected on every frame,
with a keyframe on both sides. Between two keyframes of a shot, boxes are propagated both ways by optical flow; where
the two disagree, or where something new appears in between, a frame between them becomes a keyframe too.
An object detected for the first time is also tracked backwards, and a lost one is tracked on for a while (coasting).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.memory import budget
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.tracking.detector import ImageFindings
from mdtool.tracking.gap_check import doubtful_frames
from mdtool.tracking.motion_compensation import differs
from mdtool.tracking.sampling import REGULAR_SHARE, STABLE_FACTOR, Sampling
from mdtool.tracking.tracked_box import to_region, to_tracked_box
from mdtool.tracking.tracker import Tracker
from mdtool.tracking.tracks import propagate
from mdtool.tracking.window import BufferedFrame, Window
from recipes.boxes import match, size

WINDOW_FRAMES = 48  # annotated together
MIN_WINDOW_FRAMES, MAX_WINDOW_FRAMES = 8, 160
WINDOW_BYTES = 512 << 20
WINDOW_SHARE = 4  # of the budget of memory: one part
AGREEMENT_IOU = 0.6  # least IoU of a box propagated from one keyframe with the same object's box on the next
MIN_MOTION = 0.5  # of its size: how far a low-score object must move to cause another keyframe
DARK_CONTRAST = 15.0  # standard deviation in grey levels, under which noise makes the model unreliable
REFINEMENT_SHARE = 1 - REGULAR_SHARE  # of a limited number of model calls
UNTRUSTED_SHARE = 0.3  # of the frames between regular keyframes: if more are untrackable, the others may be


@dataclass
class AnnotatedFrame:
    """A frame with its findings."""

    frame: Frame
    findings: FrameFindings = field(default_factory=FrameFindings)

    @property
    def info(self) -> FrameInfo:
        """Stream, index, time, duration and displayed size of the frame."""
        frame = self.frame
        duration = float(frame.duration * frame.time_base)
        return FrameInfo(frame.stream, frame.index, frame.time, duration, frame.display_size)


Gap = tuple[int, int]  # positions of two neighbouring keyframes of one shot, with frames in between
ModelCall = Callable[[Sequence[Frame]], "list[ImageFindings | None]"]  # None for a frame on which the model failed


@dataclass
class CallBudget:
    """The frames that the model may still analyse, shared by all samplers of a run.

    Refinement gets a fixed share only; otherwise that of the beginning of a video would use up the calls for the rest.

    Attributes:
        left: Number of frames left; None for no limit.
    """

    left: int | None = None

    def __post_init__(self) -> None:
        self._for_refinement = 0 if self.left is None else int(REFINEMENT_SHARE * self.left)

    def spend(self, requested: int) -> int:
        """Use up to `requested` calls for regular keyframes; return how many are allowed."""
        if self.left is None:
            return requested
        allowed = min(requested, self.left)
        self.left -= allowed
        return allowed

    def spend_on_refinement(self, requested: int) -> int:
        """Use up to `requested` calls for keyframes of refinement; return how many are allowed."""
        if self.left is None:
            return requested
        allowed = self.spend(min(requested, self._for_refinement))
        self._for_refinement -= allowed
        return allowed


class KeyframeSampler:
    """Annotates the frames of one stream, with a delay, in order."""

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
        """Begin a stream.

        Args:
            model_call: Runs the model on a batch of frames.
            sampling: Distance between regular keyframes.
            budget: The calls left, shared with other samplers.
            rate: Frames per second of the stream.
            window: Frames that are annotated together, an attribute that may be changed at any time; None to choose
                for accuracy rather than latency.
            tail: Annotated frames that are held back to backtrack objects first detected after them; None as above.
        """
        self.window = window
        self._model_call = model_call
        self._sampling = sampling
        self._budget = budget
        self._stride = sampling.frames_between(rate)
        self._stable = False  # all keyframes of the previous window agreed
        self._window = Window()
        self._tracker = Tracker(self._window, rate, tail)
        self._matches: dict[Gap, tuple[np.ndarray, list[tuple[int, int]]]] = {}  # by keyframe and other keyframe
        self._missed: set[int] = set()  # numbers of frames on which the model lately missed an object
        self._new_frames = 0  # frames of the window that are not annotated yet: its last ones

    def push(self, frame: Frame) -> Iterator[AnnotatedFrame]:
        """Add the next frame; yield the frames that are complete."""
        self._window.append(frame)
        self._new_frames += 1
        if self._new_frames >= self.window_size(frame):
            self._annotate(last=False)
            yield from map(_annotated_frame, self._window.release(self._tracker.lookback))

    def finish(self) -> Iterator[AnnotatedFrame]:
        """End the stream; yield the remaining frames."""
        if self._new_frames:
            self._annotate(last=True)
        yield from map(_annotated_frame, self._window.release(0))

    def window_size(self, frame: Frame) -> int:
        """Return how many frames to annotate together, within MAX_WINDOW_FRAMES, WINDOW_BYTES and WINDOW_SHARE."""
        affordable = min(WINDOW_BYTES, budget() // WINDOW_SHARE) // max(1, frame.nbytes) - self._tracker.lookback
        if self.window is not None:
            return min(self.window, max(1, affordable))
        return min(max(self._stride, WINDOW_FRAMES), MAX_WINDOW_FRAMES, max(MIN_WINDOW_FRAMES, affordable))

    def _annotate(self, last: bool) -> None:
        self._matches.clear()
        end = len(self._window) - 1
        start = end - self._new_frames  # the last frame that was annotated before, -1 if there is none
        regular = self._scheduled_keyframes(start, end)
        self._detect(regular[: self._budget.spend(len(regular))])
        if self._sampling.auto:
            self._refine_keyframes(start, end)
        self._tracker.update(start, end, last)
        self._missed = {n for n in self._missed if n + self._tracker.coast_frames > self._window.number(end)}
        self._new_frames = 0

    def _refine_keyframes(self, start: int, end: int) -> None:
        """Add keyframes until no gap is ambiguous, nor close to a frame on which the model is unreliable."""
        settled: set[Gap] = set()
        self._stable = True
        while ambiguous := self._ambiguous_gaps(start, end, settled) or self._unreliable_gaps(start, end):
            self._add_keyframes(ambiguous, settled)
        if self._budget.left is None and self._is_untrackable(start, end):
            candidates = {gap: self._candidates(gap) for gap in self._gaps(start, end)}
            self._add_keyframes(candidates, settled)

    def _is_untrackable(self, start: int, end: int) -> bool:
        """Return whether many frames between regular keyframes had to be analysed.

        What remains between them then looks trackable by chance, as damaged frames do that are like their neighbours.
        """
        new = [self._window[i] for i in range(start + 1, end + 1)]
        untrackable = sum(bool(buffered.untrackable) for buffered in new)
        predicted = sum(buffered.detections is None and not buffered.failed for buffered in new)
        return untrackable > UNTRUSTED_SHARE * (untrackable + predicted)

    def _add_keyframes(self, ambiguous: Mapping[Gap, Sequence[int]], settled: set[Gap]) -> None:
        """Make frames in each gap keyframes, the widest gap first; mark gaps without calls left as ambiguous."""
        due: list[int] = []
        for a, b in sorted(ambiguous, key=lambda gap: gap[0] - gap[1]):
            wanted = ambiguous[a, b]
            allowed = self._budget.spend_on_refinement(len(wanted))
            due += wanted[:allowed]
            for i in wanted[:allowed]:
                self._window[i].untrackable = "light" if self._window.light_changes_at(i) else "motion"
            if allowed < len(wanted):
                settled.add((a, b))
                for i in range(a + 1, b):
                    self._window[i].is_ambiguous = True
        self._detect(sorted(due))

    def _scheduled_keyframes(self, start: int, end: int) -> list[int]:
        """Return the regular keyframes: by stride, and on both sides of every cut.

        With automatic sampling, a part in which no block of the frame changes needs none.
        """
        window = self._window
        stride = round(self._stride * STABLE_FACTOR) if self._stable else self._stride
        new = range(start + 1, end + 1)
        due = {i for i in new if window[i].starts_shot} | {i - 1 for i in new if window[i].starts_shot and i > 0}
        due.add(end)
        boundaries = sorted(due | ({start} if start >= 0 else set()))
        for a, b in pairwise(boundaries):
            if window[b].starts_shot:
                continue
            if self._sampling.auto and not any(differs(window[a].cells, window[i].cells) for i in range(a + 1, b + 1)):
                continue
            parts = -(-(b - a) // stride)
            due |= {a + round((b - a) * k / parts) for k in range(1, parts)}
        return [i for i in sorted(due) if window[i].detections is None and not window[i].frame.corrupt]

    def _detect(self, positions: list[int]) -> None:
        keyframes = [self._window[i] for i in positions]
        for keyframe, found in zip(keyframes, self._model_call([k.frame for k in keyframes]), strict=True):
            if found is None:
                keyframe.failed = True
            else:
                keyframe.detections = [to_tracked_box(region, keyframe.frame.luma) for region in found.regions]
                keyframe.replies = found.replies

    def _gaps(self, start: int, end: int) -> list[Gap]:
        neighbours = pairwise(self._window.keyframes(start, end))
        return [(a, b) for a, b in neighbours if b - a > 1 and not self._window.cut_between(a, b)]

    def _ambiguous_gaps(self, start: int, end: int, settled: set[Gap]) -> dict[Gap, Sequence[int]]:
        """Return, by gap, the next keyframes: both sides of a change of light, where optical flow fails; the middle if
        the two ends disagree; the most doubtful frame if they don't show what lies between.

        settled: gaps that are not ambiguous; those found are added.
        """
        ambiguous: dict[Gap, Sequence[int]] = {}
        for gap in self._gaps(start, end):
            if gap in settled:
                continue
            candidates = self._candidates(gap)
            if relit := [i for i in candidates if self._window.light_changes_at(i)]:
                ambiguous[gap] = relit
            elif candidates and self._disagree(*gap):
                self._stable = False
                ambiguous[gap] = [min(candidates, key=lambda i: abs(2 * i - sum(gap)))]
            elif doubts := {i: doubt for i, doubt in self._doubts(*gap).items() if i in candidates}:
                ambiguous[gap] = [max(doubts, key=doubts.__getitem__)]
            else:
                settled.add(gap)
        return ambiguous

    def _doubts(self, a: int, b: int) -> dict[int, float]:
        first, last = self._window[a].detections or [], self._window[b].detections or []
        objects = [(first[i].box, last[j].box) for i, j in self._match_across(a, b)[1]]
        return doubtful_frames(self._window, a, b, objects)

    def _unreliable_gaps(self, start: int, end: int) -> dict[Gap, Sequence[int]]:
        """Return, by gap, the frames near dark ones on which the model lost an object, and so may find it or not."""
        keyframes = self._window.keyframes(start, end)
        for a, b in pairwise(keyframes):
            if b - a == 1 and not self._window.cut_between(a, b):
                self._missed |= {self._window.number(j) for i, j in ((a, b), (b, a)) if self._misses(i, j)}
        missed = [self._window.position(number) for number in self._missed]
        unreliable: dict[Gap, Sequence[int]] = {}
        for gap in self._gaps(start, end):
            near = [i for i in self._candidates(gap) if any(abs(i - at) <= self._tracker.coast_frames for at in missed)]
            if near and not self._window[near[0]].is_ambiguous:
                unreliable[gap] = near
        return unreliable

    def _misses(self, a: int, b: int) -> bool:
        """Return whether a confident detection at a is not detected at its neighbour b, in the dark."""
        if self._window[a].cells.std() > DARK_CONTRAST:
            return False
        matched = {i for i, _ in self._match_across(a, b)[1]}
        return any(found.confident and i not in matched for i, found in enumerate(self._window[a].detections or []))

    def _candidates(self, gap: Gap) -> list[int]:
        """Return the positions in a gap that can become keyframes."""
        return [i for i in range(gap[0] + 1, gap[1]) if not self._window[i].failed]

    def _disagree(self, a: int, b: int) -> bool:
        """Return whether the detections at a and b, propagated to the other keyframe, differ from those there."""
        return self._has_unmatched(a, b) or self._has_unmatched(b, a)

    def _has_unmatched(self, start: int, end: int) -> bool:
        """Return whether a detection at `start`, propagated to `end`, matches none there.

        One with a low score counts only if it moves: those that don't are often false positives.
        """
        detections = self._window[start].detections or []
        propagated, matches = self._match_across(start, end)
        unmatched = set(range(len(detections))) - {i for i, _ in matches}
        return any(
            detections[i].confident or _relative_motion(detections[i].box, propagated[i]) > MIN_MOTION
            for i in unmatched
        )

    def _match_across(self, start: int, end: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Propagate the detections at `start` to `end`; return the boxes (n, 4), and the pairs that match there."""
        detections, detections_at_end = self._window[start].detections or [], self._window[end].detections or []
        if (start, end) not in self._matches:
            paths = [propagate(found.box, start, end, self._window.flow) for found in detections]
            propagated = np.array([path[-1] for path in paths]).reshape(-1, 4)
            at_end = np.array([found.box for found in detections_at_end]).reshape(-1, 4)
            self._matches[start, end] = propagated, match(propagated, at_end, AGREEMENT_IOU)
        return self._matches[start, end]


def _annotated_frame(buffered: BufferedFrame) -> AnnotatedFrame:
    regions = [region for box in buffered.boxes if (region := to_region(box, buffered.frame.luma))]
    findings = FrameFindings(
        regions,
        analysed=buffered.detections is not None,
        hidden=not buffered.is_covered,
        cut=buffered.starts_shot,
        replies=dict(buffered.replies),
        untrackable=buffered.untrackable,
    )
    return AnnotatedFrame(buffered.frame, findings)


def _relative_motion(before: np.ndarray, after: np.ndarray) -> float:
    """Return how far the corner of a box has moved, in units of its size, along the axis where that is more."""
    return float(np.abs((after - before)[:2] / np.maximum(size(before), 1)).max())
