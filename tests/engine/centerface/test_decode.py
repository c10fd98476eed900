"""Decoding as arithmetic: faces drawn into the maps come out again, and suppression keeps what it should."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.centerface.decode import MAX_IOU, STRIDE, decode, iou, suppress
from engine.contract import NonFiniteOutput

ROWS, COLUMNS = 24, 40


def empty_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    scores, sizes, offsets, landmarks = (
        np.zeros((*shape, ROWS, COLUMNS), np.float32) for shape in ((), (2,), (2,), (10,))
    )
    return scores, sizes, offsets, landmarks


@st.composite
def crowds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of some area that often overlap, and distinct scores."""
    n = draw(st.integers(0, 25))
    numbers = st.floats(0, 50, width=32)
    corners = np.array(draw(st.lists(st.tuples(numbers, numbers), min_size=n, max_size=n))).reshape(n, 2)
    sizes = np.array(draw(st.lists(st.tuples(*[st.floats(1, 60, width=32)] * 2), min_size=n, max_size=n)))
    scores = np.array(draw(st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n, unique=True)))
    return np.concatenate([corners, corners + sizes.reshape(n, 2)], axis=1), scores


@given(crowds())
def test_kept_boxes_do_not_overlap_and_are_best_first(crowd: tuple[np.ndarray, np.ndarray]) -> None:
    boxes, scores = crowd
    kept = suppress(boxes, scores)
    assert (np.diff(scores[kept]) < 0).all()
    for place, index in enumerate(kept):
        assert (iou(boxes[index], boxes[kept[place + 1 :]]) < MAX_IOU).all()


@given(crowds())
def test_every_dropped_box_overlaps_a_better_one(crowd: tuple[np.ndarray, np.ndarray]) -> None:
    boxes, scores = crowd
    kept = suppress(boxes, scores)
    for index in np.setdiff1d(np.arange(len(boxes)), kept):
        better = kept[scores[kept] > scores[index]]
        assert (iou(boxes[index], boxes[better]) >= MAX_IOU).any()


@given(crowds(), st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_does_not_matter(crowd: tuple[np.ndarray, np.ndarray], random: Random) -> None:
    boxes, scores = crowd
    order = np.array(random.sample(range(len(boxes)), len(boxes)), dtype=int)
    assert order[suppress(boxes[order], scores[order])].tolist() == suppress(boxes, scores).tolist()


@given(crowds(), st.floats(0, 1, width=32))
def test_filtering_by_score_may_come_before_or_after(crowd: tuple[np.ndarray, np.ndarray], least: float) -> None:
    boxes, scores = crowd
    good = np.flatnonzero(scores > least)
    kept = suppress(boxes, scores)
    assert good[suppress(boxes[good], scores[good])].tolist() == kept[scores[kept] > least].tolist()


def test_overlap_of_known_boxes() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [0, 0, 1, 1]], float)
    assert iou(boxes[0], boxes).tolist() == pytest.approx([1, 1 / 3, 0, 1 / 4])


@given(
    st.integers(0, ROWS - 1),
    st.integers(0, COLUMNS - 1),
    st.tuples(*[st.floats(-0.5, 0.5, width=32)] * 2),
    st.tuples(*[st.floats(2, 200, width=32)] * 2),
    st.lists(st.floats(0, 1, width=32), min_size=10, max_size=10),
)
def test_a_face_in_the_maps_comes_out_where_it_is(
    row: int, column: int, shift: tuple[float, float], size: tuple[float, float], marks: list[float]
) -> None:
    heat, scale, offset, landmarks = empty_maps()
    heat[row, column] = 0.75
    scale[:, row, column] = np.log(np.array(size[::-1]) / STRIDE)  # maps hold y before x
    offset[:, row, column] = shift[::-1]
    landmarks[:, row, column] = marks
    faces = decode(heat, scale, offset, landmarks, threshold=0.5)

    centre = (np.array([column, row]) + 0.5 + shift) * STRIDE
    x_min, y_min = centre - np.array(size) / 2
    assert faces.scores.tolist() == [0.75]
    np.testing.assert_allclose(faces.boxes, [[x_min, y_min, x_min + size[0], y_min + size[1]]], atol=1e-3)
    at = [[x_min + x * size[0], y_min + y * size[1]] for y, x in zip(marks[::2], marks[1::2], strict=True)]
    np.testing.assert_allclose(faces.landmarks, [at], atol=1e-3)


def test_only_heat_above_the_threshold_counts() -> None:
    heat, scale, offset, landmarks = empty_maps()
    heat[4, 4], heat[12, 30] = 0.5, 0.25
    assert decode(heat, scale, offset, landmarks, threshold=0.25).scores.tolist() == [0.5]
    assert decode(heat, scale, offset, landmarks, threshold=0.125).scores.tolist() == [0.5, 0.25]
    assert len(decode(heat, scale, offset, landmarks, threshold=0.5)) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["heat", "scale", "offset", "landmarks"])
def test_a_map_without_numbers_is_an_error_not_an_empty_picture(broken: float, which: str) -> None:
    maps = dict(zip(("heat", "scale", "offset", "landmarks"), empty_maps(), strict=True))
    maps["heat"][4, 4] = 0.5
    maps[which][..., 4, 4] = broken
    with pytest.raises(NonFiniteOutput, match="centerface"):
        decode(**maps, threshold=0.25)
