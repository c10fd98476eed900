"""A heat map: where something was, and for how long, as colours over a picture."""

import math

import cv2
import numpy as np

from recipes.gaze import Gaze

CELLS = 96  # along the grid's longer side
SPREAD = 0.025  # of the same: how far a point's heat spreads (standard deviation)
POWER = 0.4  # under 1: a place with a hundredth of the most heat still shows, at a sixth of the scale
OPACITY, OPAQUE = 0.85, 0.6  # the most, and the level from which on it is reached
COLOURS = cv2.COLORMAP_INFERNO  # brightness grows evenly with heat, so it reads in grey too
DARKEST = 0.2  # where the colours begin: those before would look like shadows


class HeatMap:
    """Seconds by place, on a small grid.

    aspect: width of the picture by its height, so that heat spreads alike in both directions. grid: (rows, columns)
    float64, the seconds in each cell.
    """

    def __init__(self, aspect: float) -> None:
        if not 0 < aspect < math.inf:
            raise ValueError(f"a picture's width by its height is above 0, not {aspect}")
        columns, rows = CELLS * min(aspect, 1.0), CELLS * min(1 / aspect, 1.0)
        self.grid = np.zeros((max(1, round(rows)), max(1, round(columns))))

    def add(self, x: float, y: float, seconds: float) -> None:
        """Heat a place, in fractions of the picture; one outside of it is passed over. ValueError for no number."""
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= seconds < math.inf):
            raise ValueError(f"a place is two numbers, hot for 0 seconds or more, not ({x}, {y}) for {seconds}")
        if 0 <= x <= 1 and 0 <= y <= 1:
            rows, columns = self.grid.shape
            self.grid[min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)] += seconds

    def levels(self) -> np.ndarray:
        """(rows, columns) float32, 0 for no heat to 1 for the most; a power, so that one long stare hides no glance."""
        spread = cv2.GaussianBlur(self.grid, (0, 0), SPREAD * CELLS, borderType=cv2.BORDER_CONSTANT)
        most = spread.max()
        return ((spread / most) ** POWER if most > 0 else spread).astype(np.float32)

    def overlay(self, width: int, height: int) -> np.ndarray:
        """(height, width, 4) uint8 RGBA, to lie over a picture of that size; clear where cold."""
        levels = cv2.resize(self.levels(), (width, height), interpolation=cv2.INTER_LINEAR)
        colours = cv2.cvtColor(cv2.applyColorMap(_bytes(DARKEST + (1 - DARKEST) * levels), COLOURS), cv2.COLOR_BGR2RGB)
        return np.dstack([colours, _bytes(OPACITY * np.minimum(levels / OPAQUE, 1))])

    def blend_onto(self, picture: np.ndarray) -> np.ndarray:
        """A copy of the picture (HxWx3 uint8 RGB) under the overlay."""
        height, width = picture.shape[:2]
        overlay = self.overlay(width, height)
        alpha = overlay[..., 3:] / np.float32(255)
        return _bytes((picture * (1 - alpha) + overlay[..., :3] * alpha) / 255)


def add_gaze(heat: HeatMap, one: Gaze, seconds: float) -> None:
    """Heat what somebody looks at; of a head all of its line beyond the face, for nothing tells how far it looks."""
    if one.target is None:
        return
    if one.method == "model":
        heat.add(one.target.x, one.target.y, seconds)
        return
    for part in np.linspace(0, 1, CELLS):
        x, y = one.eye.x + part * (one.target.x - one.eye.x), one.eye.y + part * (one.target.y - one.eye.y)
        if not (one.face.x_min <= x <= one.face.x_max and one.face.y_min <= y <= one.face.y_max):
            heat.add(x, y, seconds / CELLS)


def _bytes(parts: np.ndarray) -> np.ndarray:
    return np.rint(parts * 255).astype(np.uint8)
