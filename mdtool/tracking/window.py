"""The frames that are held back, and what is known of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.tracking import cuts
from mdtool.tracking.optical_flow import OpticalFlow
from mdtool.tracking.tracked_box import TrackedBox

MOST_FLOWS = 160  # that are kept; more than a usual window needs


@dataclass(eq=False)
class BufferedFrame:
    """A frame, and what is known of it.

    detections: what the model sees on it, None if it is no keyframe; failed: the model call did; replies: to questions
    about all of it. doubtful: the keyframes beside it do not tell all of what it shows, and there are no model calls
    left. vouched: there are keyframes enough to know what to hide. boxes: of all tracks that are on it.
    """

    frame: Frame
    luma_grid: np.ndarray
    starts_shot: bool
    detections: list[TrackedBox] | None = None
    failed: bool = False
    replies: Mapping[str, str] = field(default_factory=dict)
    is_ambiguous: bool = False
    is_covered: bool = False
    boxes: list[TrackedBox] = field(default_factory=list)


class Window:
    """Frames of one stream in their order; positions count from the oldest that is still held."""

    def __init__(self) -> None:
        self._frames: list[BufferedFrame] = []
        self._cuts = cuts.CutDetector()
        self._flow = OpticalFlow()
        self._flows: dict[tuple[int, int], np.ndarray] = {}  # by the frames' numbers in the stream

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, position: int) -> BufferedFrame:
        return self._frames[position]

    def append(self, frame: Frame) -> None:
        luma_grid = cuts.luma_grid(frame.luma)
        self._frames.append(BufferedFrame(frame, luma_grid, self._starts_shot(frame, luma_grid)))

    def _starts_shot(self, frame: Frame, luma_grid: np.ndarray) -> bool:
        """Damaged frames are shots of their own: nothing is carried across them."""
        if not self._frames:
            return True
        before = self._frames[-1]
        if frame.luma.shape != before.frame.luma.shape or frame.corrupt or before.frame.corrupt:
            return True
        return self._cuts.between(before.luma_grid, luma_grid)

    def release(self, keep: int) -> Iterator[BufferedFrame]:
        """Lets go of the oldest frames until `keep` are left."""
        while len(self._frames) > keep:
            held = self._frames.pop(0)
            at = held.frame.index
            self._flows.pop((at, at + 1), None)
            self._flows.pop((at + 1, at), None)
            yield held

    def number(self, position: int) -> int:
        """Of the frame, in the stream."""
        return self._frames[0].frame.index + position

    def position(self, number: int) -> int:
        return number - self._frames[0].frame.index

    def keyframes(self, start: int, end: int) -> list[int]:
        """Positions from start to end, both included, of the frames that the model has analysed."""
        return [i for i in range(max(start, 0), end + 1) if self._frames[i].detections is not None]

    def cut_between(self, a: int, b: int) -> bool:
        return any(held.starts_shot for held in self._frames[a + 1 : b + 1])

    def flow(self, a: int, b: int) -> np.ndarray:
        """From position a to its neighbour b; computed when it is first asked for."""
        key = (self.number(a), self.number(b))
        if key not in self._flows:
            if len(self._flows) >= MOST_FLOWS:
                del self._flows[next(iter(self._flows))]
            self._flows[key] = self._flow.between(self._frames[a].frame.luma, self._frames[b].frame.luma)
        return self._flows[key]

    def new_blocks(self, a: int, b: int) -> np.ndarray:
        """MetadataBlocks in which the frame at b differs from the one at a."""
        return cuts.new_blocks(self._frames[a].luma_grid, self._frames[b].luma_grid)
