"""Detect objects in frames whose pixel aspect ratio is far from 1:1.

Such a ratio is often wrong, and a model misses objects that are stretched too far: the face detector from about half or
twice the true width on. So the model analyses both the displayed and the stored shape.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.tracking.detector import Detector, ImageFindings
from recipes.boxes import hull, match
from recipes.regions import Region

MATCH_IOU = 0.4  # least IoU of one object's boxes in the two shapes


def detect_both_aspects(detect: Detector, frames: Sequence[Frame]) -> list[ImageFindings]:
    """Run a detector on frames as displayed and, where their pixels are stretched, also as stored.

    Args:
        detect: Runs the model on a batch of images.
        frames: The frames.

    Returns:
        The findings on each frame: objects in either shape, in fractions of the image; replies to the displayed shape.
    """
    found = detect([frame.rgb() for frame in frames])
    stretched = [n for n, frame in enumerate(frames) if frame.stretched]
    if stretched:
        found_as_stored = detect([frames[n].rgb(as_stored=True) for n in stretched])
        for n, other in zip(stretched, found_as_stored, strict=True):
            found[n] = replace(found[n], regions=merge_regions(found[n].regions, other.regions))
    return found


def merge_regions(displayed: Sequence[Region], as_stored: Sequence[Region]) -> list[Region]:
    """Merge the detections in two shapes or views of one image, both in fractions of the image as displayed."""
    merged: list[Region] = []
    for label in dict.fromkeys(region.label for region in (*displayed, *as_stored)):
        first, second = ([region for region in regions if region.label == label] for regions in (displayed, as_stored))
        pairs = dict(match(_boxes(first), _boxes(second), MATCH_IOU))
        merged += [_merge_pair(region, second[pairs[i]]) if i in pairs else region for i, region in enumerate(first)]
        merged += [region for j, region in enumerate(second) if j not in pairs.values()]
    return merged


def _merge_pair(displayed: Region, as_stored: Region) -> Region:
    """Return the hull of one object's two boxes, with the better score."""
    score = max((region.score for region in (displayed, as_stored) if region.score is not None), default=None)
    sides = hull(*_boxes([displayed, as_stored])).tolist()
    return displayed.at(sides, score=score, gaze=displayed.gaze or as_stored.gaze)


def _boxes(regions: Sequence[Region]) -> np.ndarray:
    return np.array([region.sides for region in regions], float).reshape(-1, 4)
