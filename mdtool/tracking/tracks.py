"""One object through time: from the frames on which the model saw it to those between and around them.

Boxes are float arrays (4,) in pixels of the small grey pictures (`Frame.luma`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from mdtool.tracking.optical_flow import box_shift
from recipes.boxes import area, hull, resized, size
from recipes.regions import Region

MOTION_MARGIN = 0.35  # part of a frame's movement by which a carried box is grown
COAST_GROWTH = 0.04  # part of its size by which a coasting box is grown on each side, a frame that shows nothing of it
MOST_GROWTH = 0.12
VANISH_DROP = 0.45  # share of an object's appearance that changes in one frame when it vanishes, not slips away
WHOLE = 0.7  # share of an object that is in the picture, under which it is on its way out
BETTER = 0.1  # share by which following the flow must beat going straight on
FADING_SIMILARITY = 0.45  # share of its appearance under which a coasting object counts as slipping away
FADING_FRAMES = 4  # how long a slipping object is still followed
APPEARANCE_CELLS, CELL_SAMPLES = 8, 3
SAME_CELL_LEVELS = 9.0  # grey levels by which a cell of an object may change and be the same

FlowBetween = Callable[[int, int], np.ndarray]  # (frame, neighbouring frame) -> flow
LumaOf = Callable[[int], np.ndarray]


@dataclass
class Track:
    """An object that was seen at least once.

    detection: what the model said of it when it last saw it. box: where that was, at the size that is thought to be its
    whole one; sure: the model was, at least once; velocity: (dx, dy) a frame, as last measured; coast: where it is
    thought
    to be since it was lost.
    """

    number: int
    detection: Region
    box: np.ndarray
    confident: bool
    velocity: np.ndarray | None = None
    coast: "CoastingState | None" = None


@dataclass
class CoastingState:
    """Where an object is thought to be while the model does not see it.

    velocity: (dx, dy) a frame before it was lost; appearance: what it looked like; age: frames since; doubt: how
    much of
    that was not found again, summed over those frames.
    """

    box: np.ndarray
    velocity: np.ndarray
    appearance: np.ndarray
    share: float = 1.0
    age: int = 0
    uncertainty: float = 0.0
    fading_frames: int = 0
    is_lost: bool = field(default=False)

    def padded_box(self) -> np.ndarray:
        more = min(COAST_GROWTH * self.uncertainty, MOST_GROWTH) * size(self.box)
        return _grown(self.box, more + MOTION_MARGIN * np.abs(self.velocity))

    def advance(self, luma: np.ndarray, flow: np.ndarray) -> None:
        """One frame on: to where most of the object's appearance is found again, be it with the flow or straight on."""
        self.age += 1
        height, width = luma.shape
        if (
            _inside(_moved(self.box, self.velocity), width, height) < WHOLE
        ):  # too little left to judge by: it is leaving
            self.box = _moved(self.box, self.velocity)
            self.uncertainty += 0.5
            self.is_lost = _inside(self.padded_box(), width, height) == 0
            return
        drift = box_shift(self.box, flow)
        straight, drifting = (
            appearance_similarity(self.appearance, luma, _moved(self.box, move)) for move in (self.velocity, drift)
        )
        dropped, self.share = self.share - max(straight, drifting), max(straight, drifting)
        if dropped > VANISH_DROP:
            self.is_lost = True
            return
        self.uncertainty += 1 - self.share
        if self.fading_frames or self.share < FADING_SIMILARITY:
            self.fading_frames += 1
        elif drifting > straight + BETTER:  # else what covers the object would drag its box along
            self.velocity = drift
        self.box = _moved(self.box, self.velocity)
        self.is_lost = self.fading_frames > FADING_FRAMES


def appearance_of(luma: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(cells, cells) mean brightness of the object's parts, float32; NaN outside of the picture."""
    count = APPEARANCE_CELLS * CELL_SAMPLES
    (x0, y0), (width, height) = box[:2], size(box)
    to_picture = np.array(
        [[width / count, 0, x0 + width / count / 2 - 0.5], [0, height / count, y0 + height / count / 2 - 0.5]]
    )
    samples = cv2.warpAffine(
        luma.astype(np.float32),
        to_picture,
        (count, count),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(float("nan"),),
    )
    return samples.reshape(APPEARANCE_CELLS, CELL_SAMPLES, APPEARANCE_CELLS, CELL_SAMPLES).mean(axis=(1, 3))


def appearance_similarity(appearance: np.ndarray, luma: np.ndarray, box: np.ndarray) -> float:
    """Share of the object's visible cells that look in this box as they did; 0 if none is in the picture."""
    change = np.abs(appearance_of(luma, box) - appearance)
    visible = ~np.isnan(change)
    return float((change[visible] < SAME_CELL_LEVELS).mean()) if visible.any() else 0.0


def propagate(box: np.ndarray, start: int, end: int, flow: FlowBetween) -> list[np.ndarray]:
    """The box on frames start, start +- 1, ..., end, moved by the flow inside it."""
    path = [box]
    step = 1 if end > start else -1
    for at in range(start, end, step):
        path.append(_moved(path[-1], box_shift(path[-1], flow(at, at + step))))
    return path


def interpolate_boxes(forward: list[np.ndarray], backward: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Boxes between two detections of an object, from both of them carried to all frames from one to the other.

    forward begins with the first detection, backward ends with the last. The size goes evenly from one to the other,
    and each box holds both of what it is made from.
    """
    first, last, steps = size(forward[0]), size(backward[-1]), len(forward) - 1
    for step in range(1, steps):
        part = step / steps
        sizes = first * (1 - part) + last * part
        box = hull(resized(forward[step], sizes), resized(backward[step], sizes))
        yield _grown(box, MOTION_MARGIN * np.abs(forward[step][:2] - forward[step - 1][:2]))


def touches_edge(box: np.ndarray, luma: np.ndarray) -> bool:
    height, width = luma.shape
    return bool(box[:2].min() <= 1 or box[2] >= width - 1 or box[3] >= height - 1)


def _inside(box: np.ndarray, width: int, height: int) -> float:
    """Share of the box that lies in the picture."""
    cut = np.array([max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])])
    return float(area(cut) / area(box)) if area(box) > 0 else 0.0


def _moved(box: np.ndarray, move: np.ndarray) -> np.ndarray:
    return box + np.tile(move, 2)


def _grown(box: np.ndarray, more: np.ndarray) -> np.ndarray:
    return box + np.concatenate([-more, more])
