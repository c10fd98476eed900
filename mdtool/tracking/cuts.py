"""Where shots begin, and what is new in a picture, told by coarse pictures of the frames' luma."""

import cv2
import numpy as np

CUT_DIFFERENCE = 14.0  # mean grey levels, at FULL_CONTRAST, by which most of the picture must change at once
CUT_RATIO = 2.5  # and how many times more than in the frames before
FULL_CONTRAST, LEAST_CONTRAST = 35.0, 8.0  # standard deviations in grey levels: dark pictures change by fewer of them
BLOCKS = (18, 32)  # rows and columns of the coarse picture on which changes are judged
NEW_LEVELS = 18.0  # grey levels by which a block must differ to be new


def luma_grid(luma: np.ndarray) -> np.ndarray:
    """BLOCKS of mean brightness, float32."""
    rows, columns = BLOCKS if luma.shape[1] >= luma.shape[0] else BLOCKS[::-1]
    return cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean difference of two coarse pictures in grey levels; more, where both have little contrast."""
    contrast = float(np.clip(max(before.std(), after.std()), LEAST_CONTRAST, FULL_CONTRAST))
    return float(np.abs(after - before).mean()) * FULL_CONTRAST / contrast


def is_cut(difference: float, recent: list[float]) -> bool:
    """Whether a `change`, after those of the frames before, starts another shot.

    Low on purpose: a false cut costs two model calls, a missed one shows a face.
    """
    usual = float(np.median(recent)) if recent else 0.0
    return difference > max(CUT_DIFFERENCE, CUT_RATIO * usual)


class CutDetector:
    """Tells where shots begin in a stream, of which it is shown one pair of neighbours after the other."""

    def __init__(self) -> None:
        self._changes: list[float] = []  # of late

    def between(self, before: np.ndarray, after: np.ndarray) -> bool:
        """before, after: coarse."""
        difference = change(before, after)
        found = is_cut(difference, self._changes)
        self._changes = [*self._changes[-7:], difference]
        return found


def new_blocks(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """MetadataBlocks in which a coarse picture differs from the one before."""
    return np.abs(after - before) > NEW_LEVELS
