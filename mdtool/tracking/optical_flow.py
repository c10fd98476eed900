"""Dense optical flow between neighbouring frames, and the motion of a box by it.

Images are the downscaled luma of frames, `Frame.luma`; boxes are float arrays (4,) of x_min, y_min, x_max, y_max in
its pixels.
"""

import cv2
import numpy as np

MIN_FLOW_SIDE = 32  # pixels: OpenCV reads out of bounds in smaller images at its coarser scales


class OpticalFlow:
    """Dense optical flow by Dense Inverse Search (DIS), Kroeger et al. 2016, arXiv:1603.03590."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setUseSpatialPropagation(True)

    def between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Return the motion of each pixel from one frame to the other.

        Args:
            before: (height, width) uint8.
            after: (height, width) uint8.

        Returns:
            (height, width, 2) float32, dx and dy in pixels.
        """
        height, width = before.shape
        before, after = _padded(before), _padded(after)
        no_motion = np.zeros((*before.shape, 2), np.float32)
        return np.asarray(self._dis.calc(before, after, no_motion))[:height, :width]


def _padded(luma: np.ndarray) -> np.ndarray:
    """Repeat the last row and column of a small image until its sides are MIN_FLOW_SIDE."""
    below, right = (max(0, MIN_FLOW_SIDE - side) for side in luma.shape)
    return np.asarray(cv2.copyMakeBorder(luma, 0, below, 0, right, cv2.BORDER_REPLICATE)) if below or right else luma


def box_shift(box: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the motion of a box: the median flow in its inner part.

    Args:
        box: (4,) in pixels.
        flow: (height, width, 2), see `OpticalFlow.between`.

    Returns:
        (2,) float, dx and dy in pixels; zero if that part lies outside of the image.
    """
    height, width = flow.shape[:2]
    x0, y0, x1, y1 = box
    inset_x, inset_y = 0.1 * (x1 - x0), 0.1 * (y1 - y0)
    left, right = int(max(0, x0 + inset_x)), int(min(width, np.ceil(x1 - inset_x)))
    top, bottom = int(max(0, y0 + inset_y)), int(min(height, np.ceil(y1 - inset_y)))
    if right <= left or bottom <= top:
        return np.zeros(2)
    step = max(1, int(((right - left) * (bottom - top)) ** 0.5 / 12))  # about 150 samples are enough
    inside = flow[top:bottom:step, left:right:step].reshape(-1, 2)
    middle = len(inside) // 2
    return np.asarray(np.partition(inside, middle, axis=0)[middle], float)
