"""Boxes of the tracker, in pixels of the downscaled luma (`Frame.luma`), and their conversion from and to regions."""

from dataclasses import dataclass

import numpy as np

from recipes.regions import Region

MIN_CONFIDENCE = 0.3  # least score of a detection that is not likely a false positive


@dataclass(eq=False)
class TrackedBox:
    """One object on one frame.

    Attributes:
        box: (4,) float, x_min, y_min, x_max, y_max in pixels of the luma; parts may lie outside of the image.
        detection: The model's detection, on this frame or on the keyframe from which the box was propagated.
        track: Track number; 0 before it is assigned.
        seen: Whether the model detected the object on this frame.
    """

    box: np.ndarray
    detection: Region
    track: int = 0
    seen: bool = True

    @property
    def confident(self) -> bool:
        """False for a likely false positive, which is neither refined nor tracked far."""
        return self.detection.score is None or self.detection.score >= MIN_CONFIDENCE


def to_tracked_box(detection: Region, luma: np.ndarray) -> TrackedBox:
    """Return a detection as a tracked box, in pixels of this luma."""
    height, width = luma.shape
    return TrackedBox(np.array(detection.sides) * [width, height, width, height], detection)


def to_region(tracked: TrackedBox, luma: np.ndarray) -> Region | None:
    """Return the part of a box inside the image, in fractions of it; None if there is none."""
    height, width = luma.shape
    x0, y0, x1, y1 = np.clip(tracked.box / [width, height, width, height], 0, 1).tolist()
    if x1 <= x0 or y1 <= y0:
        return None
    return tracked.detection.at((x0, y0, x1, y1), track=tracked.track, seen=tracked.seen)
