"""The accurate way to ask for a gaze: from many places in the face, in the picture and its mirror image, averaged."""

import random
import statistics
from collections.abc import Sequence

from engine.contract import Box, Point

SAMPLES = 10


def sample_eye_points(face: Box, seed: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """SAMPLES places in the face, and as many in the mirrored face of the mirrored picture."""
    draw = random.Random(seed)
    plain = [(draw.uniform(face.x_min, face.x_max), draw.uniform(face.y_min, face.y_max)) for _ in range(SAMPLES)]
    mirrored = [
        (1 - draw.uniform(face.x_min, face.x_max), draw.uniform(face.y_min, face.y_max)) for _ in range(SAMPLES)
    ]
    return plain, mirrored


def mean_gaze(plain: Sequence[Point | None], mirrored: Sequence[Point | None]) -> Point | None:
    """The mean of the gazes without outliers; None where fewer than SAMPLES of both lie in the picture."""
    gazes = [(p.x, p.y) for p in plain if p] + [(1 - p.x, p.y) for p in mirrored if p]
    if len(gazes) < SAMPLES:
        return None
    kept = drop_outliers(gazes)
    return Point(sum(x for x, _ in kept) / len(kept), sum(y for _, y in kept) / len(kept))


def drop_outliers(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those no farther from their neighbour than twice what is usual.

    As the reference counts: the mean of a point's two smallest distances, of which the zero to itself is one.
    """
    if len(points) < 2:
        return list(points)
    nearest = min(2, len(points) - 1)
    spread = []
    for x, y in points:
        distances = sorted(((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in points)
        spread.append(sum(distances[:nearest]) / nearest)
    limit = 2 * statistics.median(spread)
    return [point for point, own in zip(points, spread, strict=True) if own <= limit]
