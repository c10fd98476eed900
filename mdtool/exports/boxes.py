"""The boxes of a record, within its picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mdtool.records.answers import SIDES


@dataclass(frozen=True)
class ClippedBox:
    """The part of a box that lies in the picture, in fractions of it. index: counts all objects of an input from 0."""

    index: int
    label: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    score: float | None


def has_boxes(answers: Sequence[dict[str, Any]]) -> bool:
    """Whether objects were asked for, if there are any or not."""
    return any("objects" in answer for answer in answers)


def clip_boxes(answers: Sequence[dict[str, Any]]) -> Iterator[ClippedBox]:
    """In their order. Those of which nothing lies in the picture are left out, and keep their index."""
    objects = (found for answer in answers for found in answer.get("objects", ()))
    for index, found in enumerate(objects):
        x0, y0, x1, y1 = (min(max(found[side], 0.0), 1.0) for side in SIDES)
        if x0 < x1 and y0 < y1:
            yield ClippedBox(index, found["label"], x0, y0, x1, y1, found.get("score"))
