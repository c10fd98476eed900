"""Which parts of a frame come from a keyframe, along the optical flow."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from synthetic_video import HEIGHT, WIDTH, texture

from mdtool.tracking.motion_compensation import (
    CELL,
    NEW_LEVELS,
    OUTSIDE,
    Prediction,
    cell_grid,
    differs,
    follow,
    novelty,
    positions,
    predict,
    unmoved,
)
from mdtool.tracking.optical_flow import OpticalFlow

WIDE = texture(3, size=(2 * WIDTH, 2 * HEIGHT), grain=24)
FACE = texture(5, 30, 230, (36, 46), grain=12)


def predicted(pictures: Sequence[np.ndarray]) -> Prediction:
    """Return the prediction of the last picture from the first."""
    flow, grids = OpticalFlow(), [cell_grid(picture) for picture in pictures]
    source = positions(*grids[0].shape)
    for before, after in pairwise(pictures):
        source = follow(source, flow.between(after, before))
    return predict(grids[0], grids[-1], source)


def panned(x: int, y: int = 0) -> np.ndarray:
    return WIDE[y : y + HEIGHT, x : x + WIDTH].copy()


def with_face(picture: np.ndarray, opacity: float = 1.0, at: tuple[int, int] = (150, 70)) -> np.ndarray:
    x, y = at
    place = picture[y : y + FACE.shape[0], x : x + FACE.shape[1]]
    place[:] = (1 - opacity) * place + opacity * FACE
    return picture


@pytest.mark.parametrize("size", [(320, 180), (180, 320), (321, 183), (3, 2), (1, 1)])
def test_the_grid_lies_as_its_picture_does(size: tuple[int, int]) -> None:
    width, height = size
    grid = cell_grid(np.full((height, width), 77, np.uint8))
    assert grid.shape == (max(1, round(height / CELL)), max(1, round(width / CELL)))
    assert np.allclose(grid, 77)


@pytest.mark.parametrize("step", [1, 4, 8])
def test_a_pan_brings_only_what_enters(step: int) -> None:
    prediction = predicted([panned(step * n) for n in range(8)])
    entered = -(-7 * step // CELL)
    columns = prediction.residual.shape[1]
    assert novelty(prediction.residual[:, : columns - entered - 2]) < NEW_LEVELS
    middle = prediction.source[10:30, 10:40, 0] - positions(45, 80)[10:30, 10:40, 0]
    assert np.median(middle) == pytest.approx(7 * step / CELL, abs=0.3)
    if entered > 4:
        assert (prediction.residual[:, columns - entered + 2 :] >= OUTSIDE).all()


APPEARING: dict[str, Callable[[int], float]] = {
    "at once": lambda n: float(n == 7),
    "slowly": lambda n: n / 7,
}


@pytest.mark.parametrize("opacity", APPEARING.values(), ids=APPEARING)
@pytest.mark.parametrize("step", [0, 4])
def test_what_appears_is_new(opacity: Callable[[int], float], step: int) -> None:
    prediction = predicted([with_face(panned(step * n), opacity(n)) for n in range(8)])
    assert novelty(prediction.residual[20:26, 40:44]) > NEW_LEVELS


def test_what_moves_is_not_new() -> None:
    prediction = predicted([with_face(panned(0), at=(100 + 5 * n, 70)) for n in range(8)])
    assert novelty(prediction.residual[20:26, 36:41]) < NEW_LEVELS
    x, y = prediction.source[22, 38] * CELL
    assert 100 < x < 136
    assert 70 < y < 116


@pytest.mark.parametrize(("gain", "offset"), [(0.9, 0), (0.97, 20), (1.1, -5)])
def test_light_is_not_new(gain: float, offset: float) -> None:
    prediction = predicted([panned(0), (panned(0) * gain + offset).clip(0, 255).astype(np.uint8)])
    assert novelty(prediction.residual) < NEW_LEVELS / 4


def test_noise_is_not_new() -> None:
    random = np.random.default_rng(0)
    pictures = [(panned(0) + random.normal(0, 8, (HEIGHT, WIDTH))).clip(0, 255).astype(np.uint8) for _ in range(12)]
    assert novelty(predicted(pictures).residual) < NEW_LEVELS
    assert not differs(cell_grid(pictures[0]), cell_grid(pictures[-1]))


def test_a_small_object_differs() -> None:
    small = cv2.resize(FACE, (14, 18), interpolation=cv2.INTER_AREA)
    picture = panned(0)
    picture[60:78, 90:104] = small
    assert differs(cell_grid(panned(0)), cell_grid(picture))


def test_the_dark_is_compared_in_its_own_contrast() -> None:
    bright = unmoved(cell_grid(panned(0)), cell_grid(with_face(panned(0)))).residual
    dark = unmoved(
        cell_grid((panned(0) * 0.3).astype(np.uint8)), cell_grid((with_face(panned(0)) * 0.3).astype(np.uint8))
    ).residual
    assert novelty(dark) == pytest.approx(novelty(bright), rel=0.25)
