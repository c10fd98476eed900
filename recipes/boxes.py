"""Geometry of boxes, as float arrays (n, 4) of x_min, y_min, x_max, y_max in any one unit."""

import numpy as np


def area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[..., 2] - boxes[..., 0], 0, None) * np.clip(boxes[..., 3] - boxes[..., 1], 0, None)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(len(a), len(b)): intersection over union of every pair."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    together = area(a)[:, None] + area(b)[None] - shared
    return np.divide(shared, together, out=np.zeros_like(shared), where=together > 0)


def match(a: np.ndarray, b: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Pairs (i, j) of boxes that go together, best overlap first, each box once, none under an IoU of `least`."""
    if not len(a) or not len(b):
        return []
    overlap = iou(a, b)
    pairs = []
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = np.unravel_index(flat, overlap.shape)
        if overlap[i, j] < 0:  # one of the two is taken
            continue
        if overlap[i, j] < least or overlap[i, j] == 0:
            break
        pairs.append((int(i), int(j)))
        overlap[i, :] = overlap[:, j] = -1
    return pairs


def hull(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest boxes that hold both."""
    return np.concatenate([np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def grow(boxes: np.ndarray, x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
    """Boxes with x more on the left and on the right, y more above and below."""
    more = np.stack(np.broadcast_arrays(-np.asarray(x), -np.asarray(y), x, y), axis=-1)
    return boxes + more


def resized(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes of the given (width, height) round the same centres."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    return np.concatenate([centre - sizes / 2, centre + sizes / 2], axis=-1)


def size(boxes: np.ndarray) -> np.ndarray:
    """(..., 2): width and height."""
    return boxes[..., 2:] - boxes[..., :2]
