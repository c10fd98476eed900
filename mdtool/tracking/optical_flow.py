"""Movement between neighbouring frames: cuts, optical flow, and what is new in a picture.

All of it works on the small grey pictures of `Frame.luma`; boxes are float arrays (n, 4) of x_min, y_min, x_max, y_max
in pixels of those pictures.
"""

import cv2
import numpy as np

CUT_DIFFERENCE = 14.0  # mean grey levels, at FULL_CONTRAST, by which most of the picture must change at once
CUT_RATIO = 2.5  # and how many times more than in the frames before
FULL_CONTRAST, LEAST_CONTRAST = 35.0, 8.0  # standard deviations in grey levels: dark pictures change by fewer of them
BLOCKS = (18, 32)  # rows and columns of the coarse picture on which changes are judged
LEAST_FLOW_SIDE = 32  # pixels: OpenCV reads outside of smaller pictures when it searches at its coarser scales
NEW_LEVELS = 18.0  # grey levels by which a block must differ to be new


def coarse(luma: np.ndarray) -> np.ndarray:
    """BLOCKS of mean brightness, float32."""
    rows, columns = BLOCKS if luma.shape[1] >= luma.shape[0] else BLOCKS[::-1]
    return cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean difference of two coarse pictures in grey levels; more, where both have little contrast."""
    contrast = float(np.clip(max(before.std(), after.std()), LEAST_CONTRAST, FULL_CONTRAST))
    return float(np.abs(after - before).mean()) * FULL_CONTRAST / contrast


def is_cut(difference: float, recent: list[float]) -> bool:
    """Whether a `change`, after those of the frames before, starts another shot.

    Low on purpose: a false cut costs two looks, a missed one shows a face.
    """
    usual = float(np.median(recent)) if recent else 0.0
    return difference > max(CUT_DIFFERENCE, CUT_RATIO * usual)


class Cuts:
    """Tells where shots begin in a stream, of which it is shown one pair of neighbours after the other."""

    def __init__(self) -> None:
        self._changes: list[float] = []  # of late

    def between(self, before: np.ndarray, after: np.ndarray) -> bool:
        """before, after: coarse."""
        difference = change(before, after)
        found = is_cut(difference, self._changes)
        self._changes = [*self._changes[-7:], difference]
        return found


class Flow:
    """Dense optical flow: DIS, Kroeger et al. 2016, arXiv 1603.03590."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setUseSpatialPropagation(True)

    def between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """hxwx2 float32: where each pixel of `before` went, in pixels."""
        height, width = before.shape
        before, after = _enlarged(before), _enlarged(after)
        still = np.zeros((*before.shape, 2), np.float32)
        return np.asarray(self._dis.calc(before, after, still))[:height, :width]


def _enlarged(luma: np.ndarray) -> np.ndarray:
    """A small picture with its last row and column repeated until its sides are long enough for the flow."""
    below, beside = (max(0, LEAST_FLOW_SIDE - side) for side in luma.shape)
    return np.asarray(cv2.copyMakeBorder(luma, 0, below, 0, beside, cv2.BORDER_REPLICATE)) if below or beside else luma


def shift_of(box: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(dx, dy) of one box: the median vector inside its middle; nothing to see there, no movement."""
    height, width = flow.shape[:2]
    x0, y0, x1, y1 = box
    inset_x, inset_y = 0.1 * (x1 - x0), 0.1 * (y1 - y0)
    left, right = int(max(0, x0 + inset_x)), int(min(width, np.ceil(x1 - inset_x)))
    top, bottom = int(max(0, y0 + inset_y)), int(min(height, np.ceil(y1 - inset_y)))
    if right <= left or bottom <= top:
        return np.zeros(2)
    step = max(1, int(((right - left) * (bottom - top)) ** 0.5 / 12))  # about 150 samples say as much as all
    inside = flow[top:bottom:step, left:right:step].reshape(-1, 2)
    middle = len(inside) // 2
    return np.partition(inside, middle, axis=0)[middle].astype(float)
