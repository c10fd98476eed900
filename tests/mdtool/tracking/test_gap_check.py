"""Which frames between two keyframes have to be analysed."""

import numpy as np
import pytest
from synthetic_video import MovingObject, Path, Scene, SyntheticVideo

from mdtool.tracking.gap_check import doubtful_frames
from mdtool.tracking.window import Window

LAST = 12


def doubts(at: Path, *others: MovingObject, known: bool) -> list[int]:
    """Return the doubtful frames between 0 and LAST; known: whether the object is detected on both."""
    thing = MovingObject(at)
    window = Window()
    for frame in SyntheticVideo(Scene(LAST + 1, [thing, *others])).frames:
        window.append(frame)
    first, last = thing.box(0), thing.box(LAST)
    objects = [(first, last)] if known and first is not None and last is not None else []
    return sorted(doubtful_frames(window, 0, LAST, objects))


@pytest.mark.parametrize("shown", [range(5, 6), range(3, 6), range(1, 4), range(10, 12)])
def test_what_comes_and_goes(shown: range) -> None:
    assert doubts(lambda i: (160, 90) if i in shown else None, known=False) == [*shown]


@pytest.mark.parametrize("speed", [0, 1, 3])
def test_what_is_tracked_is_no_doubt(speed: float) -> None:
    assert doubts(lambda i: (100 + speed * i, 90), known=True) == []


def test_what_is_not_detected_and_moves_on_is_no_doubt() -> None:
    assert doubts(lambda i: (100 + 2 * i, 90), known=False) == []


def test_what_leaves_its_place_and_returns() -> None:
    away = range(4, 8)
    assert doubts(lambda i: (240, 90) if i in away else (80, 90), known=True) == [*away]


def test_what_stays_while_its_boxes_move() -> None:
    """It is at its first place until it jumps to the last one; boxes from both are somewhere in between."""
    window = Window()
    thing = MovingObject(lambda i: (80, 90))
    for frame in SyntheticVideo(Scene(LAST + 1, [thing])).frames:
        window.append(frame)
    beside = np.array([180.0, 67, 216, 113])
    assert doubtful_frames(window, 0, LAST, [(beside, beside)]) == {}
    assert thing.box(0) is not None
    found = doubtful_frames(window, 0, LAST, [(np.array([62.0, 67, 98, 113]), beside)])
    assert found == {}  # the boxes propagated from the first keyframe stay on it


def test_a_still_picture_is_no_doubt() -> None:
    assert doubts(lambda i: None, known=False) == []
