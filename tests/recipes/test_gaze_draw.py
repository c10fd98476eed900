"""Gazes as they are drawn: where, in which colour, and what can be told apart."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_pixels import is_label_visible

from engine.contract import Point
from recipes.gaze import Gaze, who_looks_at
from recipes.gaze_draw import MIN_FONT_SIZE, NEUTRAL, colour_of_track, draw_gaze
from recipes.regions import Region
from recipes.text_labels import BLACK, WHITE, render_label

GREY = 90
LEFT = Gaze(1, Region(0.05, 0.4, 0.2, 0.6), Point(0.125, 0.5), Point(0.8, 0.5), True)
OUT = replace(LEFT, target=None, in_frame=False)
UNKNOWN = replace(LEFT, target=None, in_frame=None)
HEAD = replace(LEFT, target=Point(1.0, 0.5), method="head")


def drawn(*people: Gaze, width: int = 400, height: int = 300) -> np.ndarray:
    image = np.full((height, width, 3), GREY, np.uint8)
    draw_gaze(image, people)
    return image


def with_targets(people: Sequence[Gaze], *targets: Region, ground: int = GREY) -> np.ndarray:
    image = np.full((300, 400, 3), ground, np.uint8)
    draw_gaze(image, who_looks_at(people, targets), targets)
    return image


def painted(image: np.ndarray) -> np.ndarray:
    """HxW: where something was drawn."""
    mask: np.ndarray = (image != GREY).any(axis=2)
    return mask


def away_from_grey(image: np.ndarray, x: int) -> int:
    """How strongly the line is drawn in that column, on the row of the eye."""
    return int(np.abs(image[150, x].astype(int) - GREY).max())


def test_the_picture_is_drawn_on_in_place_and_nobody_leaves_it_as_it_was() -> None:
    assert painted(drawn(LEFT)).any()
    assert not painted(drawn()).any()


def test_the_face_is_boxed_where_it_is() -> None:
    image = drawn(UNKNOWN)
    colour = colour_of_track(1)
    for row, column in ((150, 20), (150, 80), (180, 50)):
        assert tuple(image[row, column]) == colour
    assert not painted(image)[125:175, 25:75].any()


def test_the_line_is_brighter_and_thicker_towards_the_target() -> None:
    image = drawn(LEFT)
    strengths = [away_from_grey(image, x) for x in (100, 160, 220, 280)]
    assert strengths == sorted(strengths)
    assert strengths[0] < 0.6 * strengths[-1]
    assert not painted(image)[:, 340:].any()
    large = painted(drawn(LEFT, width=1600, height=1200))
    assert large[400:800, 1160].sum() > large[400:800, 400].sum()


def test_the_line_hits_the_target_from_every_side() -> None:
    for x, y in ((0.9, 0.5), (0.1, 0.5), (0.5, 0.1), (0.5, 0.9), (0.9, 0.9), (0.2, 0.9), (0.4, 0.1), (0.6, 0.95)):
        one = Gaze(1, Region(0.48, 0.48, 0.52, 0.52), Point(0.5, 0.5), Point(x, y), True)
        image = drawn(one)
        for part in (0.3, 0.5, 0.7):
            row, column = round((0.5 + part * (y - 0.5)) * 300), round((0.5 + part * (x - 0.5)) * 400)
            assert painted(image)[row - 1 : row + 2, column - 1 : column + 2].any()
        assert image[min(round(y * 300), 299), round(x * 400)].min() > 240  # the white core


def test_the_target_has_a_white_core_in_the_persons_colour() -> None:
    image = drawn(LEFT)
    assert image[149, 319].min() > 240
    ring = [tuple(pixel) for pixel in image[149, 320:330]]
    assert colour_of_track(1) in ring


def white(image: np.ndarray) -> np.ndarray:
    mask: np.ndarray = image.min(axis=2) > 240
    return mask


def test_a_look_out_of_the_picture_is_marked_at_the_face_and_is_no_target() -> None:
    image = drawn(OUT)
    assert not white(image).any()
    rows, columns = np.nonzero(painted(image))
    assert columns.max() < 110
    assert rows.max() < 200
    assert painted(image).sum() > painted(drawn(UNKNOWN)).sum() + 50


def test_a_look_out_of_the_picture_does_not_cover_who_looks_there() -> None:
    other = Gaze(2, Region(0.7, 0.4, 0.8, 0.6), Point(0.75, 0.5), Point(0.125, 0.5), True)
    for people in ((OUT, other), (other, OUT)):
        assert drawn(*people)[150, 50].min() > 240


def test_no_box_lies_over_a_target() -> None:
    other = Gaze(2, Region(0.8, 0.4, 0.9, 0.6), Point(0.85, 0.5), None, None)
    for people in ((LEFT, other), (other, LEFT)):
        assert drawn(*people)[150, 320].min() > 240


def test_a_heads_direction_is_dashed_has_no_target_and_says_so() -> None:
    image = drawn(HEAD)
    line = painted(image)[150, 90:400]
    assert np.count_nonzero(np.diff(line.astype(int))) > 20
    assert not white(image).any()
    whole = painted(drawn(LEFT))[150, 90:300]
    assert whole.all()
    assert painted(image)[:118].sum() > painted(drawn(LEFT))[:118].sum()  # a longer label


@pytest.mark.parametrize("one", [HEAD, LEFT])
def test_a_line_shows_on_a_ground_that_is_as_light_as_itself(one: Gaze) -> None:
    """By its dark edges, along all of a head's line, and along the second half of the other, that fades in."""
    light = cv2.cvtColor(np.array([[colour_of_track(1)]], np.uint8), cv2.COLOR_RGB2GRAY)[0, 0]
    image = np.full((300, 400, 3), light, np.uint8)
    draw_gaze(image, [one])
    contrast = np.abs(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[140:160].astype(int) - light).max(axis=0)
    start, end = (90, 390) if one is HEAD else (200, 300)
    assert min(contrast[at : at + 15].max() for at in range(start, end, 15)) > 40


CUP = Region(0.7, 0.4, 0.9, 0.6, "cup")  # which LEFT looks at


@pytest.mark.parametrize("ground", [0, GREY, 255])
def test_a_named_target_is_boxed_in_grey_with_dark_edges(ground: int) -> None:
    image = with_targets([], CUP, ground=ground)
    for row, column in ((150, 280), (150, 360), (180, 300)):
        assert tuple(image[row, column]) == NEUTRAL
    for row, column in ((150, 279), (150, 361), (181, 300)):
        assert tuple(image[row, column]) == BLACK
    assert (image[125:175, 285:355] == ground).all()


def test_a_named_target_that_is_looked_at_stands_out_in_the_colour_of_who_does() -> None:
    other = Gaze(2, Region(0.4, 0.05, 0.5, 0.2), Point(0.45, 0.12), Point(0.85, 0.55), True)
    for people, paint in (([LEFT], colour_of_track(1)), ([other], colour_of_track(2)), ([LEFT, other], WHITE)):
        thin, thick = with_targets([], CUP), with_targets(people, CUP)
        assert (thick[180, 281:340] == paint).all()
        assert painted(thick)[170:, 300].sum() > painted(thin)[170:, 300].sum()
    assert tuple(with_targets([HEAD], CUP)[180, 300]) == colour_of_track(1)


def test_only_the_cup_that_is_looked_at_stands_out() -> None:
    image = with_targets([LEFT], CUP, Region(0.5, 0.8, 0.6, 0.95, "cup"))
    assert tuple(image[180, 300]) == colour_of_track(1)
    assert tuple(image[260, 200]) == NEUTRAL


def plates_of(image: np.ndarray) -> list[tuple[slice, slice]]:
    """Rows and columns of the grey labels, without those letters that stand alone."""
    count, _, found, _ = cv2.connectedComponentsWithStats((image == NEUTRAL).all(axis=2).astype(np.uint8))
    plates = [each for each in found[1:count] if each[4] > max(100, 0.4 * each[2] * each[3])]
    return [(slice(y, y + high), slice(x, x + wide)) for x, y, wide, high, _ in plates]


@pytest.mark.parametrize("ground", [0, GREY, 255])
def test_a_named_target_has_its_name_above_it_in_black_on_grey(ground: int) -> None:
    image = with_targets([], CUP, ground=ground)
    [(rows, columns)] = plates_of(image)
    assert 105 < rows.stop <= 120
    assert 280 <= columns.start < 285
    assert (image[rows, columns].max(axis=2) < 40).sum() > 20  # the letters
    assert tuple(image[rows.start - 1, columns.start + 3]) == BLACK


def test_names_cover_no_face_and_no_label() -> None:
    """Below, beside or in its box, where a face is above it; nowhere, where faces are all round."""
    face = Gaze(7, Region(0.6, 0.1, 0.95, 0.37), Point(0.8, 0.25), None, None)
    [(rows, _)] = plates_of(with_targets([face], CUP))
    assert rows.start > 180
    below = Gaze(8, Region(0.6, 0.63, 0.95, 0.9), Point(0.8, 0.75), None, None)
    [(rows, columns)] = plates_of(with_targets([face, below], CUP))
    assert rows.start >= 119
    assert columns.start > 360
    for people in ([face], [face, below], [Gaze(9, Region(0.3, 0.2, 1.0, 0.9), Point(0.6, 0.5), None, False)]):
        bare, image = with_targets(people), with_targets(people, CUP)
        for one in people:
            colour = (bare == colour_of_track(one.track)).all(axis=2)
            assert (image[colour] == bare[colour]).all()  # boxes and labels show as they did
    inside = with_targets([Gaze(9, Region(0.3, 0.2, 1.0, 0.9), Point(0.6, 0.5), None, False)], CUP)
    assert plates_of(inside) == []


def test_names_do_not_cover_each_other() -> None:
    same = [replace(CUP, label=name) for name in ("cup", "mug", "jar")]
    assert len(plates_of(with_targets([], *same))) == 3


def test_labels_of_people_cover_neither_each_other_nor_faces_nor_what_is_looked_at() -> None:
    at = {1: (0.3, 0.4), 2: (0.37, 0.4), 3: (0.44, 0.4), 4: (0.38, 0.75)}
    people = [
        Gaze(track, Region(x, y, x + 0.06, y + 0.2), Point(x + 0.03, y + 0.1), None, False)
        for track, (x, y) in at.items()
    ]
    looking = Gaze(5, Region(0.8, 0.4, 0.9, 0.6), Point(0.85, 0.5), Point(0.4, 0.36), True)  # above the second
    image = drawn(*people, looking)
    for track, (x, y) in at.items():
        assert is_label_visible(image, render_label(f"P{track} out", MIN_FONT_SIZE, colour_of_track(track)))
        assert tuple(image[round((y + 0.1) * 300), round((x + 0.03) * 400)]) == (GREY,) * 3
    assert image[107, 159].min() > 240  # the white core


def test_labels_keep_their_places_in_whatever_order_people_come() -> None:
    people = [replace(OUT, track=n, face=Region(x, 0.4, x + 0.06, 0.6)) for n, x in ((1, 0.3), (2, 0.38), (3, 0.46))]
    assert (drawn(*people) == drawn(*reversed(people))).all()


def test_a_name_that_can_not_be_written_is_left_out() -> None:
    image = with_targets([], replace(CUP, label="\u676f"))
    assert not painted(image)[:118].any()
    assert painted(image)[150, 280]


def test_a_person_keeps_the_colour_whoever_else_is_there() -> None:
    other = Gaze(7, Region(0.7, 0.7, 0.9, 0.9), Point(0.8, 0.8), None, None)
    for people in ([LEFT, other], [other, LEFT], [other]):
        assert tuple(drawn(*people)[250, 280]) == colour_of_track(7)


def test_colours_are_steady_far_apart_and_readable_under_black() -> None:
    assert colour_of_track(0) == pytest.approx((252, 130, 199), abs=2)
    lab = cv2.cvtColor(np.array([[colour_of_track(n) for n in range(60)]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    for start in range(5):
        for a, b in combinations(lab[start : start + 8], 2):
            assert np.linalg.norm(a - b) > 30
    assert lab[:, 0].min() > 50  # contrast of black on it is over 4.5


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.9, 0.0), (0.0, 0.9), (0.9, 0.9), (-0.1, -0.1), (0.97, 0.97)])
def test_the_label_stays_in_the_picture(corner: tuple[float, float]) -> None:
    x, y = corner
    one = Gaze(12, Region(x, y, x + 0.1, y + 0.1), Point(x + 0.05, y + 0.05), None, False)
    inside = Gaze(12, Region(0.4, 0.4, 0.5, 0.5), Point(0.45, 0.45), None, False)

    def render_label(image: np.ndarray) -> tuple[int, int]:
        """Width and height of the label: rows and columns with much of its ground."""
        ground = (image == colour_of_track(12)).all(axis=2)
        return int((ground.sum(axis=0) >= 4).sum()), int((ground.sum(axis=1) >= 20).sum())

    assert render_label(drawn(one))[0] >= render_label(drawn(inside))[0] - 12


def test_sizes_grow_with_the_picture() -> None:
    small, large = (painted(drawn(LEFT, width=400 * n, height=300 * n)).mean() for n in (2, 6))
    assert large == pytest.approx(small, rel=0.1)


def test_a_line_over_a_large_picture_touches_little_of_it() -> None:
    one = Gaze(1, Region(0, 0, 0.01, 0.01), Point(0.0, 0.0), Point(1.0, 1.0), True)
    image = drawn(one, width=3000, height=2000)
    assert painted(image).mean() < 0.02
    assert painted(image)[np.arange(100, 1990, 10), (np.arange(100, 1990, 10) * 1.5).astype(int)].all()


def test_an_array_that_can_not_be_drawn_on_is_refused() -> None:
    good = np.zeros((30, 40, 3), np.uint8)
    locked = good.copy()
    locked.flags.writeable = False
    for bad in (good[..., 0], good.astype(float), np.zeros((30, 40, 4), np.uint8), np.zeros((0, 40, 3), np.uint8)):
        with pytest.raises(ValueError, match="HxWx3 uint8"):
            draw_gaze(bad, [LEFT])
    for bad in (locked, good[:, ::-1], good[:, :20]):
        with pytest.raises(ValueError, match="copy it first"):
            draw_gaze(bad, [LEFT])


anywhere = st.floats(-3, 3) | st.sampled_from([-1e30, 1e30, 0.0, 1.0])
points = st.builds(Point, anywhere, anywhere)
boxes = st.builds(Region, anywhere, anywhere, anywhere, anywhere)
gazes = st.one_of(
    st.builds(Gaze, st.integers(-5, 10**9), boxes, points, points, st.just(True), st.sampled_from(["model", "head"])),
    st.builds(Gaze, st.integers(0, 99), boxes, points, st.none(), st.sampled_from([False, None])),
)


named = st.builds(Region, anywhere, anywhere, anywhere, anywhere, st.sampled_from(["cup", "", "a" * 99]))


@settings(max_examples=150, deadline=None)
@given(st.lists(gazes, max_size=3), st.lists(named, max_size=3), st.integers(1, 60), st.integers(1, 60))
def test_any_gaze_on_any_picture(people: list[Gaze], targets: list[Region], width: int, height: int) -> None:
    draw_gaze(np.full((height, width, 3), GREY, np.uint8), who_looks_at(people, targets), targets)
