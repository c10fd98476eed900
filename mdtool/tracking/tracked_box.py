"""A box as the tracker has it, in pixels of the small grey pictures (`Frame.luma`); here from and to fractions."""

from dataclasses import dataclass

import numpy as np

from recipes.regions import Region

MIN_CONFIDENCE = 0.3  # least score of a detection to be relied on


@dataclass(eq=False)
class TrackedBox:
    """One object on one frame.

    box: float array (4,), x_min, y_min, x_max, y_max in pixels of the luma; parts of it may lie outside. detection:
    what the model said of the object, on this frame or on the keyframe from which it was carried here. track: 0 before
    it has a number. seen: by the model, on this frame.
    """

    box: np.ndarray
    detection: Region
    track: int = 0
    seen: bool = True

    @property
    def confident(self) -> bool:
        """False where the model may well be wrong: such an object is neither searched around nor followed far."""
        return self.detection.score is None or self.detection.score >= MIN_CONFIDENCE


def to_tracked_box(detection: Region, luma: np.ndarray) -> TrackedBox:
    """Return what was detected in the picture of which this is the luma."""
    height, width = luma.shape
    return TrackedBox(np.array(detection.sides) * [width, height, width, height], detection)


def to_region(one: TrackedBox, luma: np.ndarray) -> Region | None:
    """Return the region as far as it lies in the picture; None if nothing of it does."""
    height, width = luma.shape
    x0, y0, x1, y1 = np.clip(one.box / [width, height, width, height], 0, 1).tolist()
    if x1 <= x0 or y1 <= y0:
        return None
    return one.detection.at((x0, y0, x1, y1), track=one.track, seen=one.seen)
