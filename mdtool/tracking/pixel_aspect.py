"""Frames whose pixels are far from square: whatever a player makes of them, what they show may be seen in either shape.

A model misses what is squeezed or widened too far: the face network begins to at half or twice the true width. Which of
the two shapes is the true one nothing tells, so it sees both.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.tracking.detector import Detector, ImageFindings
from recipes.boxes import hull, match
from recipes.regions import Region

SAME = 0.4  # least IoU of one object in both shapes


def detect_both_aspects(detect: Detector, frames: Sequence[Frame]) -> list[ImageFindings]:
    """What is on each frame as displayed and, where its pixels are stretched, as stored; replies to the former."""
    found = detect([frame.rgb() for frame in frames])
    stretched = [n for n, frame in enumerate(frames) if frame.stretched]
    if stretched:
        as_stored = detect([frames[n].rgb(as_stored=True) for n in stretched])
        for n, other in zip(stretched, as_stored, strict=True):
            found[n] = replace(found[n], regions=_joined(found[n].regions, other.regions))
    return found


def _joined(shown: Sequence[Region], stored: Sequence[Region]) -> list[Region]:
    """All of both, in fractions of the picture, which are the same in either shape."""
    joined: list[Region] = []
    for label in dict.fromkeys(one.label for one in (*shown, *stored)):
        here, there = ([one for one in regions if one.label == label] for regions in (shown, stored))
        partners = dict(match(_boxes(here), _boxes(there), SAME))
        joined += [_united(one, there[partners[i]]) if i in partners else one for i, one in enumerate(here)]
        joined += [one for j, one in enumerate(there) if j not in partners.values()]
    return joined


def _united(shown: Region, stored: Region) -> Region:
    """One object: a box that holds both, with the better score."""
    score = max((one.score for one in (shown, stored) if one.score is not None), default=None)
    sides = hull(*_boxes([shown, stored])).tolist()
    return shown.at(sides, score=score, gaze=shown.gaze or stored.gaze)


def _boxes(regions: Sequence[Region]) -> np.ndarray:
    return np.array([region.sides for region in regions], float).reshape(-1, 4)
