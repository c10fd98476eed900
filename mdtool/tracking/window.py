"""The frames that are held back, and what is known of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.tracking import optical_flow
from mdtool.tracking.tracks import Sighting

MOST_FLOWS = 160  # that are kept; more than a usual window needs


@dataclass(eq=False)
class Cover:
    """The box of one object on one frame, in pixels of its small grey picture. seen: by the model, on this frame."""

    track: int
    box: np.ndarray
    sighting: Sighting
    seen: bool = False


@dataclass(eq=False)
class BufferedFrame:
    """look: what the model sees on the frame, None if it was not asked; failed: it was, to no avail; replies: to
    questions about all of it.

    doubtful: the looks beside it do not tell all of what it shows, and no more may be taken.
    vouched: there are looks enough to know what to hide.
    """

    frame: Frame
    coarse: np.ndarray
    starts_shot: bool
    look: list[Sighting] | None = None
    failed: bool = False
    replies: Mapping[str, str] = field(default_factory=dict)
    doubtful: bool = False
    vouched: bool = False
    covers: list[Cover] = field(default_factory=list)


class Window:
    """Frames of one stream in their order; positions count from the oldest that is still held."""

    def __init__(self) -> None:
        self._held: list[BufferedFrame] = []
        self._cuts = optical_flow.Cuts()
        self._flow = optical_flow.Flow()
        self._flows: dict[tuple[int, int], np.ndarray] = {}  # by the frames' numbers in the stream

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, position: int) -> BufferedFrame:
        return self._held[position]

    def append(self, frame: Frame) -> None:
        coarse = optical_flow.coarse(frame.luma)
        self._held.append(BufferedFrame(frame, coarse, self._starts_shot(frame, coarse)))

    def _starts_shot(self, frame: Frame, coarse: np.ndarray) -> bool:
        """Damaged frames are shots of their own: nothing is carried across them."""
        if not self._held:
            return True
        before = self._held[-1]
        if frame.luma.shape != before.frame.luma.shape or frame.corrupt or before.frame.corrupt:
            return True
        return self._cuts.between(before.coarse, coarse)

    def release(self, keep: int) -> Iterator[BufferedFrame]:
        """Lets go of the oldest frames until `keep` are left."""
        while len(self._held) > keep:
            held = self._held.pop(0)
            at = held.frame.index
            self._flows.pop((at, at + 1), None)
            self._flows.pop((at + 1, at), None)
            yield held

    def number(self, position: int) -> int:
        """Of the frame, in the stream."""
        return self._held[0].frame.index + position

    def position(self, number: int) -> int:
        return number - self._held[0].frame.index

    def looked(self, start: int, end: int) -> list[int]:
        """Positions from start to end, both included, at which the model has looked."""
        return [i for i in range(max(start, 0), end + 1) if self._held[i].look is not None]

    def cut_between(self, a: int, b: int) -> bool:
        return any(held.starts_shot for held in self._held[a + 1 : b + 1])

    def flow(self, a: int, b: int) -> np.ndarray:
        """From position a to its neighbour b; computed when it is first asked for."""
        key = (self.number(a), self.number(b))
        if key not in self._flows:
            if len(self._flows) >= MOST_FLOWS:
                del self._flows[next(iter(self._flows))]
            self._flows[key] = self._flow.between(self._held[a].frame.luma, self._held[b].frame.luma)
        return self._flows[key]

    def new_blocks(self, a: int, b: int) -> np.ndarray:
        """Blocks in which the frame at b differs from the one at a."""
        return np.abs(self._held[b].coarse - self._held[a].coarse) > optical_flow.NEW_LEVELS
