"""Check the frames between two keyframes: is all that they show known from the two?

Content that neither keyframe shows may be an object that came and went. An object of a keyframe that is found beside
its tracked boxes would be left visible. In both cases the model has to analyse the frame itself.
"""

from collections.abc import Sequence

import numpy as np

from mdtool.tracking.motion_compensation import NEW_LEVELS, Prediction, follow, novelty, positions, predict, unmoved
from mdtool.tracking.tracks import interpolate_boxes, propagate
from mdtool.tracking.window import Window
from recipes.boxes import size

INNER_MARGIN = 0.15  # of its size: the outer part of a box, which may show the background
ESCAPED_SHARE = 0.35  # of an object's inner part, found outside of the masks, from which on it is not tracked well

Boxes = Sequence[tuple[np.ndarray, np.ndarray]]


def doubtful_frames(window: Window, a: int, b: int, objects: Boxes) -> dict[int, float]:
    """Return the frames between two keyframes that have to be analysed.

    Args:
        window: The buffered frames.
        a: Position of the first keyframe.
        b: Position of the second; there is no cut in between.
        objects: The boxes (4,) at a and at b of each object that is detected at both, in pixels of the luma.

    Returns:
        Position -> how doubtful it is, from 1.
    """
    between = range(a + 1, b)
    masked = dict(zip(between, _masked_cells(window, a, b, objects), strict=True))
    new = {i: np.where(masked[i], 0, np.inf) for i in between}
    escaped = dict.fromkeys(between, 0.0)
    boxes = {a: [first for first, _ in objects], b: [last for _, last in objects]}

    def compare(keyframe: int, predictions: dict[int, Prediction]) -> None:
        for i, prediction in predictions.items():
            new[i] = np.minimum(new[i], prediction.residual)
            shares = [_escaped_share(window, prediction, box, masked[i]) for box in boxes[keyframe]]
            escaped[i] = max(escaped[i], *shares) if shares else 0.0

    def doubts() -> dict[int, float]:
        found = {i: max(novelty(new[i]) / NEW_LEVELS, escaped[i] / ESCAPED_SHARE) for i in between}
        return {i: doubt for i, doubt in found.items() if doubt >= 1}

    for keyframe in (a, b):
        compare(keyframe, {i: unmoved(window[keyframe].cells, window[i].cells) for i in between})
    for keyframe, order in ((a, between), (b, between[::-1])):
        if doubts():  # optical flow takes time, and only what moves needs it
            compare(keyframe, _predictions(window, keyframe, order))
    return doubts()


def _predictions(window: Window, keyframe: int, frames: Sequence[int]) -> dict[int, Prediction]:
    """Predict frames from a keyframe; the first is its neighbour, and each other one that of the frame before."""
    source, before, predictions = positions(*window[keyframe].cells.shape), keyframe, {}
    for i in frames:
        source = follow(source, window.flow(i, before))
        predictions[i] = predict(window[keyframe].cells, window[i].cells, source)
        before = i
    return predictions


def _masked_cells(window: Window, a: int, b: int, objects: Boxes) -> list[np.ndarray]:
    """Return a boolean grid of the cells that the tracked boxes cover, for each frame between a and b."""
    masked = [np.zeros(window[a].cells.shape, bool) for _ in range(a + 1, b)]
    scale = _cells_per_pixel(window, a)
    for first, last in objects:
        forward, backward = propagate(first, a, b, window.flow), propagate(last, b, a, window.flow)[::-1]
        for cells, box in zip(masked, interpolate_boxes(forward, backward), strict=True):
            x0, y0, x1, y1 = np.maximum([*np.floor(box[:2] * scale), *np.ceil(box[2:] * scale)], 0).astype(int)
            cells[y0:y1, x0:x1] = True
    return masked


def _escaped_share(window: Window, prediction: Prediction, box: np.ndarray, masked: np.ndarray) -> float:
    """Return the share of a keyframe's object that is found on the frame outside of the masked cells."""
    margin = INNER_MARGIN * size(box)
    scale = _cells_per_pixel(window, 0)
    x0, y0 = (box[:2] + margin) * scale - 0.5  # a position is the centre of a cell
    x1, y1 = (box[2:] - margin) * scale - 0.5
    x, y = prediction.source[..., 0], prediction.source[..., 1]
    found = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1) & (prediction.residual < NEW_LEVELS)
    return float((found & ~masked).sum() / max(1.0, (x1 - x0) * (y1 - y0)))


def _cells_per_pixel(window: Window, position: int) -> np.ndarray:
    buffered = window[position]
    return np.array(buffered.cells.shape[::-1]) / buffered.frame.luma.shape[::-1]
