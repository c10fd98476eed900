"""The boxes of a batch record, clipped to its image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mdtool.records.answers import SIDES


@dataclass(frozen=True)
class ClippedBox:
    """The part of a box inside the image, in normalised coordinates.

    Attributes:
        index: Of the object among all objects of the input, from 0.
    """

    index: int
    label: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    score: float | None


def has_boxes(answers: Sequence[dict[str, Any]]) -> bool:
    """Return whether a record has answers of detect, with or without objects."""
    return any("objects" in answer for answer in answers)


def clip_boxes(answers: Sequence[dict[str, Any]]) -> Iterator[ClippedBox]:
    """Yield the boxes in their order. Boxes outside the image are left out; the index counts them."""
    objects = (found for answer in answers for found in answer.get("objects", ()))
    for index, found in enumerate(objects):
        x0, y0, x1, y1 = (min(max(found[side], 0.0), 1.0) for side in SIDES)
        if x0 < x1 and y0 < y1:
            yield ClippedBox(index, found["label"], x0, y0, x1, y1, found.get("score"))
