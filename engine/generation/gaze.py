"""Accurate gaze detection, as in Moondream's reference.

Gazes are predicted from many points of the face, in the image and in its mirror image; their targets are averaged
without outliers.
"""

import random
import statistics
from collections.abc import Sequence

from engine.contract import Box, Point

SAMPLES = 10  # points a face, in each of the two images


def sample_eye_points(face: Box, seed: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Draw points of a face at random.

    Args:
        face: In fractions of the image.
        seed: The same seed gives the same points.

    Returns:
        SAMPLES points (x, y) in the image, and as many in the mirrored image, in its own coordinates.
    """
    rng = random.Random(seed)
    plain = [(rng.uniform(face.x_min, face.x_max), rng.uniform(face.y_min, face.y_max)) for _ in range(SAMPLES)]
    mirrored = [(1 - rng.uniform(face.x_min, face.x_max), rng.uniform(face.y_min, face.y_max)) for _ in range(SAMPLES)]
    return plain, mirrored


def mean_gaze(plain: Sequence[Point | None], mirrored: Sequence[Point | None]) -> Point | None:
    """Average gaze targets without outliers.

    Args:
        plain: Targets in the image; None: out of the frame.
        mirrored: Targets in the mirrored image, in its coordinates.

    Returns:
        The mean target in the image; None where fewer than SAMPLES of all targets lie in the frame.
    """
    gazes = [(p.x, p.y) for p in plain if p] + [(1 - p.x, p.y) for p in mirrored if p]
    if len(gazes) < SAMPLES:
        return None
    inliers = drop_outliers(gazes)
    return Point(sum(x for x, _ in inliers) / len(inliers), sum(y for _, y in inliers) / len(inliers))


def drop_outliers(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points no farther from their nearest neighbour than twice the median.

    As in the reference, the distance is the mean of a point's two smallest ones, of which the zero to itself is one.
    """
    if len(points) < 2:
        return list(points)
    nearest = min(2, len(points) - 1)
    spread = []
    for x, y in points:
        distances = sorted(((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in points)
        spread.append(sum(distances[:nearest]) / nearest)
    limit = 2 * statistics.median(spread)
    return [point for point, distance in zip(points, spread, strict=True) if distance <= limit]
