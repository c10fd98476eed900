"""Frames whose pixels are far from square: whatever a player makes of them, what they show may be seen in either shape.

A model misses what is squeezed or widened too far: the face network begins to at half or twice the true width. Which of
the two shapes is the true one nothing tells, so it sees both.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.tracking.detector import See, Sight, Sighted
from recipes.boxes import hull, match

SAME = 0.4  # least IoU of one object in both shapes


def seen_in_each_shape(see: See, frames: Sequence[Frame]) -> list[Sight]:
    """What is seen on each frame as displayed and, where its pixels are stretched, as stored; replies to the former."""
    sights = see([frame.rgb() for frame in frames])
    stretched = [n for n, frame in enumerate(frames) if frame.stretched]
    if stretched:
        as_stored = see([frames[n].rgb(as_stored=True) for n in stretched])
        for n, other in zip(stretched, as_stored, strict=True):
            sights[n] = replace(sights[n], objects=_joined(sights[n].objects, other.objects))
    return sights


def _joined(shown: Sequence[Sighted], stored: Sequence[Sighted]) -> list[Sighted]:
    """All of both, in fractions of the picture, which are the same in either shape."""
    joined: list[Sighted] = []
    for label in dict.fromkeys(one.box.label for one in (*shown, *stored)):
        here, there = ([one for one in objects if one.box.label == label] for objects in (shown, stored))
        partners = dict(match(_boxes(here), _boxes(there), SAME))
        joined += [_united(one, there[partners[i]]) if i in partners else one for i, one in enumerate(here)]
        joined += [one for j, one in enumerate(there) if j not in partners.values()]
    return joined


def _united(shown: Sighted, stored: Sighted) -> Sighted:
    """One object: a box that holds both, with the better score."""
    x_min, y_min, x_max, y_max = hull(*_boxes([shown, stored])).tolist()
    score = max((one.box.score for one in (shown, stored) if one.box.score is not None), default=None)
    box = replace(shown.box, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max, score=score)
    return Sighted(box, shown.gaze or stored.gaze)


def _boxes(objects: Sequence[Sighted]) -> np.ndarray:
    boxes = [one.box for one in objects]
    return np.array([[b.x_min, b.y_min, b.x_max, b.y_max] for b in boxes], float).reshape(-1, 4)
