"""Scores of points."""

from collections.abc import Sequence

Point = tuple[float, float]
Box = tuple[float, float, float, float]


def inside_box(point: Point, box: Box) -> bool:
    """Return whether a point (x, y) is in a box (x_min, y_min, x_max, y_max) or on its edge, both in one unit."""
    (x, y), (x_min, y_min, x_max, y_max) = point, box
    return x_min <= x <= x_max and y_min <= y <= y_max


def screenspot_accuracy(pairs: Sequence[tuple[Point | None, Box]]) -> float:
    """Return the share of points, None where none was given, that are in the box of the element to click, 0..1.

    Source: Cheng et al., "SeeClick: Harnessing GUI Grounding for Advanced Visual GUI Agents", 2024.

    Raises:
        ValueError: There are no pairs.
    """
    if not pairs:
        raise ValueError("no points")
    return sum(point is not None and inside_box(point, box) for point, box in pairs) / len(pairs)
