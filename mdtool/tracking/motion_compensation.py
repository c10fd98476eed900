"""Predict frames from a keyframe along the optical flow, to know which parts of them the model has seen there.

This is the motion-compensated prediction of video coding (e.g. Wiegand et al. 2003, "Overview of the H.264/AVC video
coding standard"), on grids of cells of CELL x CELL pixels of the downscaled luma (`Frame.luma`).
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mdtool.tracking.cuts import FULL_CONTRAST, MIN_CONTRAST, relight

CELL = 4  # pixels of the luma, the resolution of the optical flow
OBJECT_CELLS = 3  # a side: the smallest object that is told from noise
NEW_LEVELS = 14.0  # least mean residual of new content the size of an object, in grey levels at FULL_CONTRAST

MISREGISTRATION = 0.5  # of the range of the cells around one: what an error of the flow may add to its residual
SAME_LIGHT_LEVELS = 1.0  # difference of two frames' means, in grey levels, up to which their light is the same
OUTSIDE = 255.0  # residual of what comes from outside of the image


def cell_grid(luma: np.ndarray) -> np.ndarray:
    """Return the mean luma of each cell.

    Args:
        luma: (height, width) uint8.

    Returns:
        (about height / CELL, about width / CELL) float32 in grey levels.
    """
    height, width = (max(1, round(side / CELL)) for side in luma.shape)
    return cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)


@dataclass(frozen=True)
class Prediction:
    """A frame as predicted from a keyframe.

    Attributes:
        source: (rows, columns, 2) float32, x and y in cells: where the content of each cell was on the keyframe.
        residual: (rows, columns) float32, the difference of the frame from it, in grey levels at FULL_CONTRAST.
    """

    source: np.ndarray
    residual: np.ndarray


def unmoved(keyframe: np.ndarray, frame: np.ndarray) -> Prediction:
    """Predict that a frame shows what a keyframe shows, both given as cell grids."""
    return Prediction(positions(*frame.shape), cv2.absdiff(frame, keyframe) * contrast_scale(frame))


def predict(keyframe: np.ndarray, frame: np.ndarray, source: np.ndarray) -> Prediction:
    """Predict a frame from a keyframe along the optical flow, in the frame's light.

    Args:
        keyframe: Cell grid of the keyframe.
        frame: Cell grid of the frame.
        source: Where the content of each cell of the frame was on the keyframe, see `follow`.
    """
    rows, columns = frame.shape
    x, y = source[..., 0], source[..., 1]
    outside = (x < -1) | (x > columns) | (y < -1) | (y > rows)
    predicted = _sample(keyframe, source)
    if abs(float(predicted.mean() - frame.mean())) > SAME_LIGHT_LEVELS:
        predicted = relight(predicted, frame).astype(np.float32)
    around = np.ones((3, 3), np.uint8)
    tolerance = MISREGISTRATION * (cv2.dilate(predicted, around) - cv2.erode(predicted, around))
    residual = np.maximum(np.abs(predicted - frame) - tolerance, 0) * contrast_scale(frame)
    return Prediction(source, np.where(outside, OUTSIDE, residual))


def follow(source: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return where the content of a frame's cells was on the keyframe.

    Args:
        source: The same for the neighbour towards the keyframe, (rows, columns, 2) in cells.
        flow: (height, width, 2) from the frame to that neighbour, in pixels of the luma.
    """
    rows, columns = source.shape[:2]
    here = positions(rows, columns)
    cells = cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA)
    there = here + cells * np.array([columns / flow.shape[1], rows / flow.shape[0]], np.float32)
    motion = _sample(source - here, there)  # beyond the edge the motion continues, not the position
    return np.asarray(there + motion)


def _sample(grid: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.remap(grid, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


@lru_cache(maxsize=8)
def positions(rows: int, columns: int) -> np.ndarray:
    """Return the position of each cell, (rows, columns, 2) float32 x and y."""
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)


def contrast_scale(grid: np.ndarray) -> float:
    """Return the factor that brings differences of a frame to FULL_CONTRAST."""
    _, deviation = cv2.meanStdDev(grid)
    return FULL_CONTRAST / min(max(deviation.item(), MIN_CONTRAST), FULL_CONTRAST)


def novelty(residual: np.ndarray) -> float:
    """Return how new the newest part the size of a small object is: its mean residual."""
    return float(_mean_around(residual).max())


def differs(before: np.ndarray, after: np.ndarray, place: np.ndarray | None = None) -> bool:
    """Return whether two frames, given as cell grids, differ by something the size of a small object.

    Args:
        before: One cell grid.
        after: The other.
        place: (4,) box in fractions of the image, outside of which differences don't count; None for the whole image.
    """
    residual = unmoved(before, after).residual
    if place is not None:
        rows, columns = residual.shape
        x0, y0, x1, y1 = (np.clip(place, 0, 1) * [columns, rows, columns, rows]).round().astype(int)
        residual = residual[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return residual.size > 0 and novelty(residual) >= NEW_LEVELS


def _mean_around(grid: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.blur(grid, (OBJECT_CELLS, OBJECT_CELLS), borderType=cv2.BORDER_REFLECT))
