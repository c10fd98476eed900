"""Movement between neighbouring frames: dense optical flow, and the movement of a box by it.

All of it works on the small grey pictures of `Frame.luma`; boxes are float arrays (4,) of x_min, y_min, x_max, y_max
in pixels of those pictures.
"""

import cv2
import numpy as np

LEAST_FLOW_SIDE = 32  # pixels: OpenCV reads outside of smaller pictures when it searches at its coarser scales


class OpticalFlow:
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


def box_shift(box: np.ndarray, flow: np.ndarray) -> np.ndarray:
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
