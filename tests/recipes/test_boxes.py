"""Geometry of boxes, against counting cells of a grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.boxes import area, grow, hull, iou, match, resized, size

GRID = 8


@st.composite
def some_boxes(draw: st.DrawFn) -> np.ndarray:
    corners = st.lists(st.integers(0, GRID), min_size=2, max_size=2, unique=True).map(sorted)
    sides = draw(st.lists(st.tuples(corners, corners), max_size=5))
    return np.array([[x[0], y[0], x[1], y[1]] for x, y in sides], float).reshape(-1, 4)


def cells(box: np.ndarray) -> np.ndarray:
    grid = np.zeros((GRID, GRID), bool)
    x0, y0, x1, y1 = box.astype(int)
    grid[y0:y1, x0:x1] = True
    return grid


@given(some_boxes(), some_boxes())
def test_iou_is_shared_cells_over_all_cells(a: np.ndarray, b: np.ndarray) -> None:
    found = iou(a, b)
    assert found.shape == (len(a), len(b))
    for i, one in enumerate(a):
        assert area(one) == cells(one).sum()
        for j, other in enumerate(b):
            assert found[i, j] == pytest.approx((cells(one) & cells(other)).sum() / (cells(one) | cells(other)).sum())


def test_boxes_of_no_size_share_nothing() -> None:
    point, whole = np.array([[3.0, 3, 3, 3]]), np.array([[0.0, 0, 8, 8]])
    assert iou(point, point)[0, 0] == 0
    assert iou(point, whole)[0, 0] == 0
    assert area(np.array([4.0, 4, 1, 1])) == 0  # a reversed one too


@given(some_boxes(), some_boxes(), st.floats(0, 1))
def test_matches_are_one_to_one_best_first_and_none_is_left_out(a: np.ndarray, b: np.ndarray, least: float) -> None:
    pairs = match(a, b, least)
    overlap = iou(a, b)
    shares = [overlap[i, j] for i, j in pairs]
    assert shares == sorted(shares, reverse=True)
    assert all(share >= least and share > 0 for share in shares)
    for side in (0, 1):
        assert len({pair[side] for pair in pairs}) == len(pairs)
    for i in set(range(len(a))) - {i for i, _ in pairs}:
        for j in set(range(len(b))) - {j for _, j in pairs}:
            assert overlap[i, j] < least or overlap[i, j] == 0


def test_a_box_goes_to_its_best_match_not_to_its_first() -> None:
    a = np.array([[0.0, 0, 4, 4], [1.0, 0, 5, 4]])
    b = np.array([[1.0, 0, 5, 4], [0.0, 0, 4, 4]])
    assert sorted(match(a, b, 0.1)) == [(0, 1), (1, 0)]
    assert match(a, b, 1.1) == []


@given(some_boxes())
def test_a_hull_is_the_smallest_box_round_both(boxes: np.ndarray) -> None:
    for one in boxes:
        for other in boxes:
            x0, y0, x1, y1 = hull(one, other).astype(int)
            rows, columns = np.nonzero(cells(one) | cells(other))
            assert (x0, y0) == (columns.min(), rows.min())
            assert (x1, y1) == (columns.max() + 1, rows.max() + 1)


def test_growing() -> None:
    boxes = np.array([[1.0, 2, 3, 5], [0.0, 0, 1, 1]])
    assert grow(boxes, 1, 2).tolist() == [[0, 0, 4, 7], [-1, -2, 2, 3]]
    assert grow(boxes, np.array([1.0, 0]), 0).tolist() == [[0, 2, 4, 5], [0, 0, 1, 1]]
    assert boxes[0].tolist() == [1, 2, 3, 5]  # itself unchanged


@given(some_boxes(), st.floats(0.5, 9), st.floats(0.5, 9))
def test_resizing_keeps_the_centre(boxes: np.ndarray, width: float, height: float) -> None:
    new = resized(boxes, np.array([width, height]))
    assert np.allclose(size(new), [width, height])
    assert np.allclose(new[:, :2] + new[:, 2:], boxes[:, :2] + boxes[:, 2:])
    assert np.allclose(resized(boxes, size(boxes)), boxes)


def test_a_box_that_is_taken_does_not_end_the_search() -> None:
    a = np.array([[0.0, 0, 10, 10], [6.0, 0, 16, 10]])
    b = np.array([[0.0, 0, 10, 10], [9.0, 0, 19, 10]])
    assert iou(a, b)[1, 0] > 0  # the taken pair (0, 0) has a neighbour that overlaps too
    assert sorted(match(a, b, 0.05)) == [(0, 0), (1, 1)]
    a, b = np.array([[0.0, 0, 10, 10], [9.0, 0, 19, 10]]), np.array([[0.0, 0, 10, 10], [4.0, 0, 13, 10]])
    assert iou(a, b)[0, 1] > iou(a, b)[1, 1] > 0.2
    assert sorted(match(a, b, 0.2)) == [(0, 0), (1, 1)]
