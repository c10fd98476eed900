"""Detect cuts between shots, and new content in a frame, from coarse grids of the frames' mean luma."""

import cv2
import numpy as np

CUT_DIFFERENCE = 14.0  # mean difference at a cut, in grey levels at FULL_CONTRAST
CUT_RATIO = 2.5  # how many times greater a cut is than the changes before it
FULL_CONTRAST, MIN_CONTRAST = 35.0, 8.0  # standard deviations in grey levels; differences of dark frames are scaled up
BLOCKS = (18, 32)  # rows and columns of the grid
NEW_LEVELS = 18.0  # least difference of a new block, in grey levels


def luma_grid(luma: np.ndarray) -> np.ndarray:
    """Return the mean luma of each block.

    Args:
        luma: (height, width) uint8.

    Returns:
        BLOCKS of float32, in grey levels; rows and columns are swapped for a frame that is higher than wide.
    """
    rows, columns = BLOCKS if luma.shape[1] >= luma.shape[0] else BLOCKS[::-1]
    return cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean difference of two luma grids in grey levels, scaled up where both have little contrast."""
    contrast = float(np.clip(max(before.std(), after.std()), MIN_CONTRAST, FULL_CONTRAST))
    return float(np.abs(after - before).mean()) * FULL_CONTRAST / contrast


def is_cut(difference: float, recent: list[float]) -> bool:
    """Return whether a frame starts a new shot.

    The threshold is low on purpose: a false cut costs two model calls, a missed one leaves a face visible.

    Args:
        difference: `change` from the previous frame.
        recent: `change` of the frames before.
    """
    typical = float(np.median(recent)) if recent else 0.0
    return difference > max(CUT_DIFFERENCE, CUT_RATIO * typical)


class CutDetector:
    """Detects cuts in one stream, from successive pairs of neighbouring frames."""

    def __init__(self) -> None:
        self._changes: list[float] = []  # of the last eight pairs

    def between(self, before: np.ndarray, after: np.ndarray) -> bool:
        """Return whether there is a cut between two neighbouring frames, given as luma grids."""
        difference = change(before, after)
        cut = is_cut(difference, self._changes)
        self._changes = [*self._changes[-7:], difference]
        return cut


def new_blocks(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return a boolean grid of the blocks in which the second luma grid differs from the first."""
    return np.asarray(np.abs(after - before) > NEW_LEVELS)
