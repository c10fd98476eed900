"""The eight orientations: between what is stored and what is shown, both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdtool.media.image.display_matrix import UPRIGHT, Orientation, from_display_matrix

ALL = [Orientation(quarters, mirror) for mirror in (False, True) for quarters in range(4)]
ONE = 1 << 16  # display matrices count in 1/65536


def matrix_of(a: int, b: int, c: int, d: int, x: int = 0, y: int = 0) -> bytes:
    return np.array([a, b, 0, c, d, 0, x, y, 1 << 30], np.int32).tobytes()


def linear_of(turn: Orientation) -> tuple[int, int, int, int]:
    """(a, b, c, d) read off what `show` does: a stored step right is shown as (a, b), a step down as (c, d)."""
    stored = np.arange(6).reshape(2, 3)
    at = {value: (x, y) for (y, x), value in np.ndenumerate(turn.show(stored))}
    right, down = (tuple(p - q for p, q in zip(at[step], at[0], strict=True)) for step in (1, 3))
    return (*right, *down)


@pytest.mark.parametrize("turn", ALL)
def test_a_box_on_the_shown_picture_is_the_same_pixels_in_the_stored_one(turn: Orientation) -> None:
    stored = np.random.default_rng(1).integers(0, 255, (6, 10), dtype=np.uint8)
    shown = turn.show(stored)
    height, width = shown.shape
    for x0, y0, x1, y1 in [(0, 0, 1, 1), (1, 2, 4, 5), (0, 0, width, height), (width - 2, 0, width, 1)]:
        rect = turn.to_stored((x0 / width, y0 / height, x1 / width, y1 / height))
        left, top, right, bottom = (round(part * side) for part, side in zip(rect, (10, 6) * 2, strict=True))
        cut = stored[top:bottom, left:right]
        assert cut.size
        assert np.array_equal(turn.show(cut), shown[y0:y1, x0:x1])


@given(
    st.sampled_from(ALL),
    st.tuples(*[st.integers(1, 9)] * 2),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_rectangle_stays_one_of_the_same_size(
    turn: Orientation, shape: tuple[int, int], parts: tuple[float, float, float, float]
) -> None:
    (x0, x1), (y0, y1) = sorted(parts[:2]), sorted(parts[2:])
    left, top, right, bottom = turn.to_stored((x0, y0, x1, y1))
    assert 0 <= left <= right <= 1
    assert 0 <= top <= bottom <= 1
    sides = (right - left, bottom - top)
    assert np.allclose(sides[::-1] if turn.swaps_sides else sides, (x1 - x0, y1 - y0))
    shown = turn.show(np.zeros(shape)).shape
    assert shown == (shape[::-1] if turn.swaps_sides else shape)


@pytest.mark.parametrize("turn", ALL)
def test_painting_what_is_shown_paints_what_is_stored(turn: Orientation) -> None:
    stored = np.zeros((4, 5, 3), np.uint8)
    turn.show(stored)[0, 0] = 9
    assert (stored == 9).sum() == 3


def test_the_eight_are_different_and_the_first_changes_nothing() -> None:
    stored = np.arange(6).reshape(2, 3)
    assert len({turn.show(stored).tobytes() + bytes(turn.show(stored).shape) for turn in ALL}) == 8
    assert np.array_equal(UPRIGHT.show(stored), stored)
    assert UPRIGHT.to_stored((0.1, 0.2, 0.3, 0.4)) == (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize("turn", ALL)
def test_a_display_matrix_does_what_show_does(turn: Orientation) -> None:
    a, b, c, d = (ONE * part for part in linear_of(turn))
    assert from_display_matrix(matrix_of(a, b, c, d)) == turn
    assert from_display_matrix(matrix_of(a, b, c, d, 1080 * ONE, 1920 * ONE)) == turn  # where it is moved to is no turn


def test_a_phone_held_upright_turns_its_picture_clockwise() -> None:
    turn = from_display_matrix(matrix_of(0, ONE, -ONE, 0, 1080 * ONE))
    assert turn is not None
    assert turn.show(np.array([[1, 2], [3, 4]])).tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize("linear", [(46341, 46341, -46341, 46341), (0, 0, 0, 0), (ONE, ONE, 0, ONE)])
def test_other_matrices_are_no_orientation(linear: tuple[int, int, int, int]) -> None:
    assert from_display_matrix(matrix_of(*linear)) is None
