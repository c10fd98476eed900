"""One track: propagation by optical flow, interpolation between detections, and coasting without detections.

Boxes are float arrays (4,) of x_min, y_min, x_max, y_max in pixels of the downscaled luma (`Frame.luma`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from mdtool.tracking.optical_flow import box_shift
from recipes.boxes import area, hull, resized, size
from recipes.regions import Region

MOTION_MARGIN = 0.35  # of the motion per frame: margin of a propagated box
COAST_GROWTH = 0.04  # of its size: margin of a coasting box on each side, for each frame without similarity
MAX_GROWTH = 0.12  # of its size: most of that margin
VANISH_DROP = 0.45  # drop of the similarity in one frame at which an object has vanished, rather than faded
MIN_VISIBLE_SHARE = 0.7  # an object with less of its area in the image is leaving it
MIN_FLOW_ADVANTAGE = 0.1  # by which the similarity along the flow must exceed that of a straight path
FADING_SIMILARITY = 0.45  # similarity under which a coasting object is fading
FADING_FRAMES = 4  # how long a fading object is tracked
APPEARANCE_CELLS, CELL_SAMPLES = 8, 3  # a side: cells of an object, luma samples of a cell
SAME_CELL_LEVELS = 9.0  # grey levels by which a cell may change and count as the same

FlowBetween = Callable[[int, int], np.ndarray]  # (position, neighbouring position) -> flow (height, width, 2)


@dataclass
class Track:
    """An object that was detected at least once.

    Attributes:
        number: Track number, from 1.
        detection: The last detection.
        box: Position of the last detection, at the estimated full size of the object.
        confident: Whether any detection had a sufficient score.
        velocity: (2,) dx and dy in pixels per frame, as last measured.
        coast: State since the object was lost; None while it is detected.
    """

    number: int
    detection: Region
    box: np.ndarray
    confident: bool
    velocity: np.ndarray | None = None
    coast: "CoastingState | None" = None


@dataclass
class CoastingState:
    """Estimated position of an object while it is not detected.

    Attributes:
        box: (4,) estimated box.
        velocity: (2,) dx and dy in pixels per frame.
        appearance: See `appearance_of`, of the frame where coasting began.
        share: Similarity of the appearance on the last frame, 0..1.
        age: Frames since coasting began.
        uncertainty: Missing similarity, summed over the frames.
        fading_frames: Frames since the similarity fell under FADING_SIMILARITY.
        is_lost: The object has vanished, faded, or left the image.
    """

    box: np.ndarray
    velocity: np.ndarray
    appearance: np.ndarray
    share: float = 1.0
    age: int = 0
    uncertainty: float = 0.0
    fading_frames: int = 0
    is_lost: bool = False

    def padded_box(self) -> np.ndarray:
        """Return the box with a margin for the uncertainty and the motion."""
        margin = min(COAST_GROWTH * self.uncertainty, MAX_GROWTH) * size(self.box)
        return _expanded(self.box, margin + MOTION_MARGIN * np.abs(self.velocity))

    def advance(self, luma: np.ndarray, flow: np.ndarray) -> None:
        """Move to the next frame: along the flow or straight on, whichever is more similar to the appearance.

        Args:
            luma: (height, width) uint8, of the next frame.
            flow: (height, width, 2) from the current frame to the next.
        """
        self.age += 1
        height, width = luma.shape
        straight_on = _moved(self.box, self.velocity)
        if _visible_share(straight_on, width, height) < MIN_VISIBLE_SHARE:  # too little left to compare: it is leaving
            self.box = straight_on
            self.uncertainty += 0.5
            self.is_lost = _visible_share(self.padded_box(), width, height) == 0
            return
        flow_motion = box_shift(self.box, flow)
        straight, with_flow = (
            appearance_similarity(self.appearance, luma, _moved(self.box, move))
            for move in (self.velocity, flow_motion)
        )
        drop, self.share = self.share - max(straight, with_flow), max(straight, with_flow)
        if drop > VANISH_DROP:
            self.is_lost = True
            return
        self.uncertainty += 1 - self.share
        if self.fading_frames or self.share < FADING_SIMILARITY:
            self.fading_frames += 1
        elif with_flow > straight + MIN_FLOW_ADVANTAGE:  # otherwise an occluding object would drag the box along
            self.velocity = flow_motion
        self.box = _moved(self.box, self.velocity)
        self.is_lost = self.fading_frames > FADING_FRAMES


def appearance_of(luma: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the appearance of an object: the mean luma of a grid of cells.

    Args:
        luma: (height, width) uint8.
        box: (4,) in pixels of the luma.

    Returns:
        (APPEARANCE_CELLS, APPEARANCE_CELLS) float32 grey levels; NaN for cells that are partly outside of the image.
    """
    count = APPEARANCE_CELLS * CELL_SAMPLES
    (x0, y0), (width, height) = box[:2], size(box)
    to_image = np.array(
        [[width / count, 0, x0 + width / count / 2 - 0.5], [0, height / count, y0 + height / count / 2 - 0.5]]
    )
    samples = cv2.warpAffine(
        luma.astype(np.float32),
        to_image,
        (count, count),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(float("nan"),),
    )
    return np.asarray(samples.reshape(APPEARANCE_CELLS, CELL_SAMPLES, APPEARANCE_CELLS, CELL_SAMPLES).mean(axis=(1, 3)))


def appearance_similarity(appearance: np.ndarray, luma: np.ndarray, box: np.ndarray) -> float:
    """Return the share of an object's visible cells that have not changed, 0..1; 0 if none is in the image.

    Args:
        appearance: See `appearance_of`.
        luma: (height, width) uint8, of another frame.
        box: (4,) where the object may be on that frame.
    """
    change = np.abs(appearance_of(luma, box) - appearance)
    visible = ~np.isnan(change)
    return float((change[visible] < SAME_CELL_LEVELS).mean()) if visible.any() else 0.0


def propagate(box: np.ndarray, start: int, end: int, flow: FlowBetween) -> list[np.ndarray]:
    """Propagate a box by the flow inside it.

    Args:
        box: (4,) on the frame at position `start`.
        start: Position of the first frame.
        end: Position of the last frame, before or after the first.
        flow: Returns the optical flow between neighbouring positions.

    Returns:
        The box on each frame from `start` to `end`, both included.
    """
    path = [box]
    step = 1 if end > start else -1
    for at in range(start, end, step):
        path.append(_moved(path[-1], box_shift(path[-1], flow(at, at + step))))
    return path


def interpolate_boxes(forward: list[np.ndarray], backward: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Interpolate the boxes between two detections of an object.

    Each box covers both propagated ones, at a linearly interpolated size.

    Args:
        forward: The first detection propagated to the last, one box per frame.
        backward: The last detection propagated to the first, in the same order of frames.

    Yields:
        The box on each frame between the two.
    """
    first, last, steps = size(forward[0]), size(backward[-1]), len(forward) - 1
    for step in range(1, steps):
        fraction = step / steps
        interpolated_size = first * (1 - fraction) + last * fraction
        box = hull(resized(forward[step], interpolated_size), resized(backward[step], interpolated_size))
        yield _expanded(box, MOTION_MARGIN * np.abs(forward[step][:2] - forward[step - 1][:2]))


def touches_edge(box: np.ndarray, luma: np.ndarray) -> bool:
    """Return whether a box reaches the edge of the image, within one pixel."""
    height, width = luma.shape
    return bool(box[:2].min() <= 1 or box[2] >= width - 1 or box[3] >= height - 1)


def _visible_share(box: np.ndarray, width: int, height: int) -> float:
    """Return the share of a box that lies inside the image."""
    visible = np.array([max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])])
    return float(area(visible) / area(box)) if area(box) > 0 else 0.0


def _moved(box: np.ndarray, move: np.ndarray) -> np.ndarray:
    return np.asarray(box + np.tile(move, 2))


def _expanded(box: np.ndarray, margin: np.ndarray) -> np.ndarray:
    return np.asarray(box + np.concatenate([-margin, margin]))
