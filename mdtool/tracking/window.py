"""The buffered frames of a stream, with their keyframe detections, boxes, cuts and optical flow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.tracking.cuts import CutDetector, luma_grid
from mdtool.tracking.motion_compensation import cell_grid
from mdtool.tracking.optical_flow import OpticalFlow
from mdtool.tracking.tracked_box import TrackedBox

MAX_FLOWS = 160  # size of the flow cache; more than a usual window needs


@dataclass(eq=False)
class BufferedFrame:
    """A frame in the window.

    Attributes:
        frame: The frame.
        cells: See `motion_compensation.cell_grid`.
        starts_shot: Whether there is a cut before it.
        light_changes: Whether the light differs from that of the frame before.
        detections: Detections of the model; None if it is not a keyframe.
        untrackable: See `FrameFindings.untrackable`.
        failed: Whether the model failed on it.
        replies: Replies to questions about the whole frame.
        is_ambiguous: Its keyframes don't suffice to know its objects, and no model call was left for another one.
        is_covered: Its keyframes suffice to know its objects; otherwise it has to be masked.
        boxes: Boxes of all tracks on it.
    """

    frame: Frame
    cells: np.ndarray
    starts_shot: bool
    light_changes: bool = False
    detections: list[TrackedBox] | None = None
    untrackable: str = ""
    failed: bool = False
    replies: Mapping[str, str] = field(default_factory=dict)
    is_ambiguous: bool = False
    is_covered: bool = False
    boxes: list[TrackedBox] = field(default_factory=list)


class Window:
    """The buffered frames of one stream, in order; positions count from the oldest."""

    def __init__(self) -> None:
        self._frames: list[BufferedFrame] = []
        self._cuts = CutDetector()
        self._flow = OpticalFlow()
        self._flows: dict[tuple[int, int], np.ndarray] = {}  # by frame numbers

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, position: int) -> BufferedFrame:
        return self._frames[position]

    def append(self, frame: Frame) -> None:
        """Add the next frame."""
        starts_shot, light_changes = self._cuts.next(luma_grid(frame.luma))
        # damaged frames are shots of their own, so that nothing is tracked across them
        starts_shot |= frame.corrupt or (bool(self._frames) and self._differs_in_kind(frame))
        self._frames.append(BufferedFrame(frame, cell_grid(frame.luma), starts_shot, light_changes))

    def _differs_in_kind(self, frame: Frame) -> bool:
        before = self._frames[-1].frame
        return before.corrupt or before.luma.shape != frame.luma.shape

    def release(self, keep: int) -> Iterator[BufferedFrame]:
        """Remove and yield the oldest frames until `keep` are left."""
        while len(self._frames) > keep:
            oldest = self._frames.pop(0)
            at = oldest.frame.index
            self._flows.pop((at, at + 1), None)
            self._flows.pop((at + 1, at), None)
            yield oldest

    def number(self, position: int) -> int:
        """Return the number of the frame at a position, counted in the stream."""
        return self._frames[0].frame.index + position

    def position(self, number: int) -> int:
        """Return the position of the frame with this number in the stream."""
        return number - self._frames[0].frame.index

    def keyframes(self, start: int, end: int) -> list[int]:
        """Return the positions of the keyframes from start to end, both included."""
        return [i for i in range(max(start, 0), end + 1) if self._frames[i].detections is not None]

    def cut_between(self, a: int, b: int) -> bool:
        """Return whether there is a cut between positions a and b."""
        return any(buffered.starts_shot for buffered in self._frames[a + 1 : b + 1])

    def light_changes_at(self, position: int) -> bool:
        """Return whether the light of a frame differs from that of the frame before or after it."""
        return any(buffered.light_changes for buffered in self._frames[position : position + 2])

    def flow(self, a: int, b: int) -> np.ndarray:
        """Return the optical flow from position a to its neighbour b, computed on the first call.

        Returns:
            (height, width, 2) float32 in pixels of the luma.
        """
        key = (self.number(a), self.number(b))
        if key not in self._flows:
            if len(self._flows) >= MAX_FLOWS:
                del self._flows[next(iter(self._flows))]
            self._flows[key] = self._flow.between(self._frames[a].frame.luma, self._frames[b].frame.luma)
        return self._flows[key]
