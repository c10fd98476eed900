"""Scores of gaze targets against those that several people marked (GazeFollow)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HEATMAP_SIZE = 64
HEATMAP_SIGMA = 3.0  # cells of the map of HEATMAP_SIZE


@dataclass(frozen=True)
class GazeDistance:
    """Distances of a gaze target in fractions of the image: to the mean of people's marks, and to the nearest mark."""

    mean: float
    minimum: float


def gazefollow_dist(point: tuple[float, float], marks: Sequence[tuple[float, float]]) -> GazeDistance:
    """Return the L2 distances of a gaze target from people's marks, all (x, y) as fractions 0..1 of the image.

    Source: Recasens et al., "Where are they looking?", 2015.

    Raises:
        ValueError: There are no marks.
    """
    if not marks:
        raise ValueError("no marks")
    centre = tuple(sum(values) / len(marks) for values in zip(*marks, strict=True))
    return GazeDistance(math.dist(point, centre), min(math.dist(point, mark) for mark in marks))


def point_heatmap(point: tuple[float, float], size: int = HEATMAP_SIZE, sigma: float = HEATMAP_SIGMA) -> np.ndarray:
    """Return a Gaussian about a point (x, y), 0..1, as a (size, size) float64 map; sigma in its cells.

    This is how the targets that heat map models learn from are drawn (Chong et al., "Detecting Attended Visual Targets
    in Video", 2020), so that a model that gives a point has an area under the curve too.
    """
    cells = (np.arange(size) + 0.5) / size
    x, y = (np.exp(-((cells - c) ** 2) / (2 * (sigma / size) ** 2)) for c in point)
    return np.asarray(y[:, None] * x[None, :])


def gazefollow_auc(heatmap: np.ndarray, marks: Sequence[tuple[float, float]]) -> float:
    """Return the area under the ROC curve of a map that tells the cells people marked from the others, 0..1.

    Args:
        heatmap: (h, w), larger where the gaze is more likely.
        marks: People's marks, (x, y) as fractions 0..1 of the image.

    Raises:
        ValueError: There are no marks, or they fill the map.
    """
    height, width = heatmap.shape
    marked = np.zeros(heatmap.shape, bool)
    for x, y in marks:
        marked[min(max(int(y * height), 0), height - 1), min(max(int(x * width), 0), width - 1)] = True
    positives, negatives = heatmap[marked], np.sort(heatmap[~marked])
    if not len(positives) or not len(negatives):
        raise ValueError("an area under the curve needs cells with and without marks")
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.mean() / (2 * len(negatives)))  # ties count half
