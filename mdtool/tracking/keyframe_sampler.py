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
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.tracking.detector import ImageFindings
from mdtool.tracking.sampling import REGULAR_SHARE, STABLE_FACTOR, Sampling
from mdtool.tracking.tracked_box import to_region, to_tracked_box
from mdtool.tracking.tracker import Tracker
from mdtool.tracking.tracks import propagate
from mdtool.tracking.window import BufferedFrame, Window
from recipes.boxes import hull, match, size

WINDOW_FRAMES = 48  # annotated together
MIN_WINDOW_FRAMES, MAX_WINDOW_FRAMES = 8, 160
WINDOW_BYTES = 512 << 20
AGREEMENT_IOU = 0.4  # least IoU of a box propagated from one keyframe with the same object's box on the next
NOVELTY_MIN_GAP = 8  # least frames between two keyframes to search for small new objects in between
NOVELTY_MIN_BLOCKS = 3  # least new blocks of a small object
NOVELTY_SHARE = 0.3  # share of new blocks from which on a frame becomes a keyframe in any gap
MIN_MOTION = 0.5  # of its size: how far a low-score object must move to cause another keyframe
REFINEMENT_SHARE = 1 - REGULAR_SHARE  # of a limited number of model calls


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
        self._new_frames = 0  # frames of the window that are not annotated yet: its last ones

    def push(self, frame: Frame) -> Iterator[AnnotatedFrame]:
        """Add the next frame; yield the frames that are complete."""
        self._window.append(frame)
        self._new_frames += 1
        if self._new_frames >= self._window_size(frame):
            self._annotate(last=False)
            yield from map(_annotated_frame, self._window.release(self._tracker.lookback))

    def finish(self) -> Iterator[AnnotatedFrame]:
        """End the stream; yield the remaining frames."""
        if self._new_frames:
            self._annotate(last=True)
        yield from map(_annotated_frame, self._window.release(0))

    def _window_size(self, frame: Frame) -> int:
        """Return how many frames to annotate together, within MAX_WINDOW_FRAMES and WINDOW_BYTES."""
        affordable = WINDOW_BYTES // max(1, frame.nbytes) - self._tracker.lookback
        if self.window is not None:
            return min(self.window, max(1, affordable))
        return min(max(self._stride, WINDOW_FRAMES), MAX_WINDOW_FRAMES, max(MIN_WINDOW_FRAMES, affordable))

    def _annotate(self, last: bool) -> None:
        end = len(self._window) - 1
        start = end - self._new_frames  # the last frame that was annotated before, -1 if there is none
        regular = self._scheduled_keyframes(start, end)
        self._detect(regular[: self._budget.spend(len(regular))])
        if self._sampling.auto:
            self._refine_keyframes(start, end)
        self._tracker.update(start, end, last)
        self._new_frames = 0

    def _refine_keyframes(self, start: int, end: int) -> None:
        """Add keyframes until no gap is ambiguous."""
        settled: set[Gap] = set()
        self._add_keyframes(self._novelty_gaps(start, end), settled)
        self._stable = True
        while ambiguous := self._ambiguous_gaps(start, end, settled):
            self._add_keyframes(ambiguous, settled)

    def _add_keyframes(self, ambiguous: Mapping[Gap, int], settled: set[Gap]) -> None:
        """Make one frame in each gap a keyframe, the widest gap first; mark gaps without a call left as ambiguous."""
        widest = sorted(ambiguous, key=lambda gap: gap[0] - gap[1])
        allowed = self._budget.spend_on_refinement(len(widest))
        self._detect(sorted(ambiguous[gap] for gap in widest[:allowed]))
        for a, b in widest[allowed:]:
            settled.add((a, b))
            for i in range(a + 1, b):
                self._window[i].is_ambiguous = True

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
            if self._sampling.auto and not any(self._window.new_blocks(a, i).any() for i in range(a + 1, b + 1)):
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

    def _novelty_gaps(self, start: int, end: int) -> dict[Gap, int]:
        """Return, by gap, the frame on which a small object may have appeared and gone again."""
        gaps = [gap for gap in self._gaps(start, end) if gap[1] - gap[0] >= NOVELTY_MIN_GAP]
        return {gap: at for gap in gaps if (at := self._most_novel(gap, NOVELTY_MIN_BLOCKS)) is not None}

    def _ambiguous_gaps(self, start: int, end: int, settled: set[Gap]) -> dict[Gap, int]:
        """Return, by gap, the next keyframe: where the two ends disagree, or a frame differs much from both.

        settled: gaps that are not ambiguous; those found are added.
        """
        ambiguous = {}
        for gap in self._gaps(start, end):
            if gap in settled:
                continue
            candidates = self._candidates(gap)
            if candidates and self._disagree(*gap):
                self._stable = False
                ambiguous[gap] = min(candidates, key=lambda i: abs(2 * i - sum(gap)))
            elif (most_novel := self._most_novel(gap, NOVELTY_SHARE * self._window[gap[0]].luma_grid.size)) is not None:
                ambiguous[gap] = most_novel
            else:
                settled.add(gap)
        return ambiguous

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
        propagated = np.array([propagate(s.box, start, end, self._window.flow)[-1] for s in detections]).reshape(-1, 4)
        return propagated, match(propagated, np.array([s.box for s in detections_at_end]).reshape(-1, 4), AGREEMENT_IOU)

    def _most_novel(self, gap: Gap, min_blocks: float) -> int | None:
        """Return the frame with most blocks that differ from both ends of the gap, tracked objects excluded.

        None if no frame has `min_blocks` of them.
        """
        new, tracked = self._window.new_blocks, self._tracked_blocks(*gap)
        blocks = {i: int((new(gap[0], i) & new(gap[1], i) & ~tracked).sum()) for i in self._candidates(gap)}
        most_novel = max(blocks, key=blocks.__getitem__, default=None)
        return most_novel if most_novel is not None and blocks[most_novel] >= min_blocks else None

    def _tracked_blocks(self, a: int, b: int) -> np.ndarray:
        """Return a boolean grid of the blocks that objects detected at both a and b may cross."""
        start = self._window[a]
        blocks = np.zeros(start.luma_grid.shape, bool)
        scale = np.array(blocks.shape[::-1]) / start.frame.luma.shape[::-1]
        first, last = start.detections or [], self._window[b].detections or []
        for i, j in self._match_across(a, b)[1]:
            box = hull(first[i].box, last[j].box)
            low, high = box[:2] * scale - 1, box[2:] * scale + 1
            x0, y0 = np.maximum(low, 0).astype(int)
            x1, y1 = np.ceil(high).astype(int)
            blocks[y0:y1, x0:x1] = True
        return blocks


def _annotated_frame(buffered: BufferedFrame) -> AnnotatedFrame:
    regions = [region for box in buffered.boxes if (region := to_region(box, buffered.frame.luma))]
    findings = FrameFindings(
        regions,
        analysed=buffered.detections is not None,
        hidden=not buffered.is_covered,
        cut=buffered.starts_shot,
        replies=dict(buffered.replies),
    )
    return AnnotatedFrame(buffered.frame, findings)


def _relative_motion(before: np.ndarray, after: np.ndarray) -> float:
    """Return how far the corner of a box has moved, in units of its size, along the axis where that is more."""
    return float(np.abs((after - before)[:2] / np.maximum(size(before), 1)).max())
