"""Box geometry, on float arrays (n, 4) of x_min, y_min, x_max, y_max in any unit."""

import numpy as np


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas (...) of boxes (..., 4); 0 for inverted ones."""
    width, height = (np.clip(boxes[..., i + 2] - boxes[..., i], 0, None) for i in (0, 1))
    return np.asarray(width * height)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every pair, (len(a), len(b))."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    union = area(a)[:, None] + area(b)[None] - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0))


def match(a: np.ndarray, b: np.ndarray, min_iou: float) -> list[tuple[int, int]]:
    """Match boxes greedily, by descending IoU.

    Args:
        a: (n, 4).
        b: (m, 4).
        min_iou: Least IoU of a pair.

    Returns:
        Pairs of indices (i, j) into a and b, best first, each index at most once.
    """
    if not len(a) or not len(b):
        return []
    overlap = iou(a, b)
    pairs = []
    for flat_index in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = np.unravel_index(flat_index, overlap.shape)
        if overlap[i, j] < 0:  # one of the two is matched
            continue
        if overlap[i, j] < min_iou or overlap[i, j] == 0:
            break
        pairs.append((int(i), int(j)))
        overlap[i, :] = overlap[:, j] = -1
    return pairs


def hull(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the smallest boxes (..., 4) that contain both."""
    return np.concatenate([np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def grow(boxes: np.ndarray, x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
    """Return the boxes (..., 4) expanded by x at the left and at the right, by y above and below."""
    offsets = np.stack(np.broadcast_arrays(-np.asarray(x), -np.asarray(y), x, y), axis=-1)
    return np.asarray(boxes + offsets)


def resized(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return boxes (..., 4) of other sizes (..., 2), width and height, about the same centres."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    return np.concatenate([centre - sizes / 2, centre + sizes / 2], axis=-1)


def size(boxes: np.ndarray) -> np.ndarray:
    """Return the sizes (..., 2) of boxes (..., 4): width and height."""
    return np.asarray(boxes[..., 2:] - boxes[..., :2])
