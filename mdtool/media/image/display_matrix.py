"""Display orientation: the eight combinations of quarter turns and mirroring (ISO/IEC 14496-12 display matrix)."""

from dataclasses import dataclass

import numpy as np

Rect = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Orientation:
    """The transform from stored to displayed pixels.

    Attributes:
        quarters: Counter-clockwise quarter turns, applied last.
        mirror: Whether the image is first mirrored left to right.
    """

    quarters: int = 0
    mirror: bool = False

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height are swapped by the display."""
        return self.quarters % 2 == 1

    def show(self, stored: np.ndarray) -> np.ndarray:
        """Transform HxW[xC] stored pixels to displayed ones (a view)."""
        return np.rot90(stored[:, ::-1] if self.mirror else stored, self.quarters)

    def store(self, shown: np.ndarray) -> np.ndarray:
        """Transform HxW[xC] displayed pixels to stored ones (a view)."""
        turned = np.rot90(shown, -self.quarters)
        return turned[:, ::-1] if self.mirror else turned

    def to_stored(self, rect: Rect) -> Rect:
        """Transform (x_min, y_min, x_max, y_max) from fractions of the displayed image to those of the stored one."""
        x0, y0, x1, y1 = rect
        for _ in range(self.quarters % 4):  # undo one counter-clockwise quarter: (x, y) -> (1 - y, x)
            x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
        return (1 - x1, y0, 1 - x0, y1) if self.mirror else (x0, y0, x1, y1)


UPRIGHT = Orientation()


def from_display_matrix(matrix: bytes) -> Orientation | None:
    """Return the orientation of a display matrix, or None if it is not a multiple of a quarter turn.

    Args:
        matrix: The 3x3 matrix as nine little-endian int32 (ISO/IEC 14496-12, 6.2.2).
    """
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32)[:9].tolist()
    linear = tuple((v > 0) - (v < 0) for v in (a, b, c, d))
    return _BY_SIGNS.get(linear)


# Signs of (a, b, c, d), where a stored point (x, y) is shown at (a x + c y, b x + d y).
_BY_SIGNS = {
    (1, 0, 0, 1): Orientation(0),
    (0, -1, 1, 0): Orientation(1),
    (-1, 0, 0, -1): Orientation(2),
    (0, 1, -1, 0): Orientation(3),
    (-1, 0, 0, 1): Orientation(0, mirror=True),
    (0, 1, 1, 0): Orientation(1, mirror=True),
    (1, 0, 0, -1): Orientation(2, mirror=True),
    (0, -1, -1, 0): Orientation(3, mirror=True),
}
