"""Detect cuts between shots and changes of light, from coarse grids of the frames' mean luma."""

import cv2
import numpy as np

CUT_DIFFERENCE = 14.0  # mean difference at a cut, in grey levels at FULL_CONTRAST
CUT_RATIO = 2.5  # how many times greater a cut is than the changes before it
FULL_CONTRAST, MIN_CONTRAST = 35.0, 8.0  # standard deviations in grey levels; differences of dark frames are scaled up
BLOCKS = (18, 32)  # rows and columns of the grid
CLIPPED = (6.0, 249.0)  # grey levels from which on a block is black or white, whatever it shows
MIN_UNCLIPPED_SHARE = 0.25  # of the blocks: a frame with fewer of them shows nothing to compare
LIGHT_LEVELS = 6.0  # mean change by light alone, in grey levels at FULL_CONTRAST, from which on the light changes
STEADY_LEVELS = 2.0  # change up to which it does not matter how much of it is light
LIGHT_SHARE = 0.5  # of a change: least part that is by light alone
FAINT = 0.35  # of the contrast of the last frame that showed something: a frame with less shows nothing
MAX_FAINT_FRAMES = 12  # in a row; then this is how the video looks


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
    deviation = max(cv2.meanStdDev(grid)[1].item() for grid in (before, after))
    difference = cv2.mean(cv2.absdiff(after, before))[0]
    return float(difference * FULL_CONTRAST / min(max(deviation, MIN_CONTRAST), FULL_CONTRAST))


def is_cut(difference: float, recent: list[float]) -> bool:
    """Return whether a frame starts a new shot.

    The threshold is low on purpose: a false cut costs two model calls, a missed one leaves a face visible.

    Args:
        difference: `change` from the previous frame.
        recent: `change` of the frames before.
    """
    typical = float(np.median(recent)) if recent else 0.0
    return difference > max(CUT_DIFFERENCE, CUT_RATIO * typical)


def relight(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the first luma grid in the light of the second: with the gain and offset that bring it nearest.

    Args:
        before: Luma grid.
        after: Luma grid of the same shape.

    Returns:
        The first grid, changed by the least-squares fit over blocks that are neither black nor white in either; as it
        is where these are too few.
    """
    unclipped = _unclipped(before) & _unclipped(after)
    if unclipped.mean() < MIN_UNCLIPPED_SHARE:
        return before
    x, y = before[unclipped], after[unclipped]
    variance = float(x.var())
    gain = float(((x - x.mean()) * (y - y.mean())).mean()) / variance if variance > 1 else 1.0
    gain = float(np.clip(gain, 0.1, 10))
    return np.asarray(np.clip(gain * (before - x.mean()) + y.mean(), 0, 255))


def _unclipped(grid: np.ndarray) -> np.ndarray:
    return np.asarray((grid > CLIPPED[0]) & (grid < CLIPPED[1]))


class CutDetector:
    """Detects cuts and changes of light in one stream, from successive frames.

    A change of light alone is no cut. Nor are black and white frames; the frames on both sides of them are compared.
    """

    def __init__(self) -> None:
        self._changes: list[float] = []  # of the last eight pairs, without their light
        self._before: np.ndarray | None = None
        self._shown = np.zeros(BLOCKS, np.float32)  # the last frame that showed something
        self._faint_frames = 0

    def next(self, grid: np.ndarray) -> tuple[bool, bool]:
        """Compare a frame, given as luma grid, with those before it.

        Returns:
            Whether there is a cut before it, and whether the light changes there.
        """
        before, shown = self._before, self._shown
        self._before = grid
        if before is None or before.shape != grid.shape:
            self._changes, self._shown = [], grid
            return True, False
        light_changes = _light_changes(before, grid)
        if self._is_faint(grid):
            return False, light_changes or change(before, grid) > CUT_DIFFERENCE
        self._shown = grid
        difference = change(shown, grid)
        if difference > STEADY_LEVELS:
            difference = min(difference, change(relight(shown, grid), grid))
        cut = is_cut(difference, self._changes)
        self._changes = [*self._changes[-7:], difference]
        return cut, light_changes or shown is not before

    def _is_faint(self, grid: np.ndarray) -> bool:
        """Return whether a frame is black, white or nearly so, among frames that are not."""
        faint = _unclipped(grid).mean() < MIN_UNCLIPPED_SHARE or grid.std() < FAINT * self._shown.std()
        self._faint_frames = self._faint_frames + 1 if faint else 0
        return bool(faint) and self._faint_frames <= MAX_FAINT_FRAMES


def _light_changes(before: np.ndarray, after: np.ndarray) -> bool:
    total = change(before, after)
    if total < LIGHT_LEVELS:
        return False
    by_light = total - change(relight(before, after), after)
    return by_light > max(LIGHT_LEVELS, LIGHT_SHARE * total)
