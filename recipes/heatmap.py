"""Heatmaps: seconds by position, as colours over an image."""

import math

import cv2
import numpy as np

from recipes.gaze import Gaze

CELLS = 96  # along the grid's longer side
SPREAD = 0.025  # of the same: standard deviation of the Gaussian blur
POWER = 0.4  # gamma: a cell with a hundredth of the maximum still shows, at a sixth of the scale
OPACITY, OPAQUE = 0.85, 0.6  # the greatest opacity, and the level from which on it is reached
COLOURS = cv2.COLORMAP_INFERNO  # perceptually uniform, also in greyscale
DARKEST = 0.2  # where the colour scale begins: darker colours would look like shadows


class HeatMap:
    """Seconds by position, on a coarse grid.

    Attributes:
        grid: (rows, columns) float64, seconds in each cell.
    """

    def __init__(self, aspect: float) -> None:
        """Create an empty map.

        Args:
            aspect: Width of the image divided by its height.

        Raises:
            ValueError: The aspect ratio is not above 0.
        """
        if not 0 < aspect < math.inf:
            raise ValueError(f"an aspect ratio is above 0, not {aspect}")
        columns, rows = CELLS * min(aspect, 1.0), CELLS * min(1 / aspect, 1.0)
        self.grid = np.zeros((max(1, round(rows)), max(1, round(columns))))

    def add(self, x: float, y: float, seconds: float) -> None:
        """Add time at a position; one outside of the image is ignored.

        Args:
            x: Fraction of the image's width.
            y: Fraction of the image's height.
            seconds: Time to add.

        Raises:
            ValueError: A value is not finite, or the time is negative.
        """
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= seconds < math.inf):
            raise ValueError(f"a position is two numbers, for 0 seconds or more, not ({x}, {y}) for {seconds}")
        if 0 <= x <= 1 and 0 <= y <= 1:
            rows, columns = self.grid.shape
            self.grid[min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)] += seconds

    def levels(self) -> np.ndarray:
        """Return the blurred map on a scale from 0 to 1, with gamma so that short glances remain visible.

        Returns:
            (rows, columns) float32.
        """
        spread = cv2.GaussianBlur(self.grid, (0, 0), SPREAD * CELLS, borderType=cv2.BORDER_CONSTANT)
        most = spread.max()
        return ((spread / most) ** POWER if most > 0 else spread).astype(np.float32)

    def overlay(self, width: int, height: int) -> np.ndarray:
        """Render the map.

        Returns:
            (height, width, 4) uint8 RGBA, transparent where the map is 0.
        """
        levels = cv2.resize(self.levels(), (width, height), interpolation=cv2.INTER_LINEAR)
        colours = cv2.cvtColor(
            cv2.applyColorMap(_to_uint8(DARKEST + (1 - DARKEST) * levels), COLOURS), cv2.COLOR_BGR2RGB
        )
        return np.dstack([colours, _to_uint8(OPACITY * np.minimum(levels / OPAQUE, 1))])

    def blend_onto(self, image: np.ndarray) -> np.ndarray:
        """Return a copy of an image (HxWx3, uint8 RGB) with the map blended over it."""
        height, width = image.shape[:2]
        overlay = self.overlay(width, height)
        alpha = overlay[..., 3:] / np.float32(255)
        return _to_uint8((image * (1 - alpha) + overlay[..., :3] * alpha) / 255)


def add_gaze(heat: HeatMap, gaze: Gaze, seconds: float) -> None:
    """Add time at the target of a gaze; of a head pose, spread it along the line outside of the face.

    Args:
        heat: Changed in place.
        gaze: A gaze without a target adds nothing.
        seconds: Time to add.
    """
    if gaze.target is None:
        return
    if gaze.method == "model":
        heat.add(gaze.target.x, gaze.target.y, seconds)
        return
    eye, target, face = gaze.eye, gaze.target, gaze.face
    for fraction in np.linspace(0, 1, CELLS):
        x, y = eye.x + fraction * (target.x - eye.x), eye.y + fraction * (target.y - eye.y)
        if not (face.x_min <= x <= face.x_max and face.y_min <= y <= face.y_max):
            heat.add(x, y, seconds / CELLS)


def _to_uint8(fractions: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(fractions * 255), np.uint8)
