"""Marks on frames: where the object is, in a colour that stays, with words that stay in the picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_pixels import is_label_visible

from recipes.draw import FONT_SIZE, MIN_FONT_SIZE
from recipes.gaze_draw import colour_of_track
from recipes.overlay import MAX_LABEL_LENGTH, draw_overlay, draw_unjudged_notice
from recipes.regions import Region
from recipes.text_labels import BLACK, WHITE, contrast, label_rect, paste_label, render_label, to_ascii

GREY = 90
NAMES: list[Any] = ["boxes", "hitmarker"]


@dataclass(frozen=True)
class Thing(Region):
    label: str = "face"
    track: int = 1
    score: float | None = 0.87


MIDDLE = Thing(0.25, 0.4, 0.75, 0.9)


def marked(name: Any, *things: Thing, size: tuple[int, int] = (400, 300), colour: Any = None) -> np.ndarray:
    image = np.full((size[1], size[0], 3), GREY, np.uint8)
    draw_overlay(image, things, name, colour)
    return image


def painted(image: np.ndarray) -> np.ndarray:
    """HxW: where something was drawn."""
    mask: np.ndarray = (image != GREY).any(axis=2)
    return mask


def test_a_box_is_outlined_where_it_is_and_empty_inside() -> None:
    image = marked("boxes", MIDDLE)
    assert {tuple(image[y, x]) for y, x in ((120, 299), (270, 200), (200, 100), (200, 300))} == {colour_of_track(1)}
    assert not painted(image)[126:264, 106:294].any()
    assert not painted(image)[272:].any()


def test_a_label_stands_above_its_box() -> None:
    rows, columns = np.nonzero(painted(marked("boxes", MIDDLE))[:120])
    assert 8 < np.ptp(rows) < 40
    assert columns.min() == 100


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "thing",
    [Thing(-0.2, -0.2, 0.1, 0.1), Thing(0.9, 0.0, 1.3, 0.2), Thing(0.9, 0.9, 1.2, 1.2), Thing(0, 0, 1, 1)],
)
def test_words_stay_in_the_picture(name: Any, thing: Thing) -> None:
    """As many letters are there as of an object in the middle."""

    def words(image: np.ndarray) -> int:
        ground = colour_of_track(1) if name == "boxes" else (40, 40, 40)
        return int((image == ground).all(axis=2).sum())

    quiet = Thing(thing.x_min, thing.y_min, thing.x_max, thing.y_max, "", 1, None)
    with_words, least = words(marked(name, thing)), words(marked(name, quiet))
    assert with_words > least + 200


def test_a_track_keeps_its_colour_and_others_have_their_own() -> None:
    for things in ([MIDDLE], [Thing(0.1, 0.1, 0.2, 0.2, track=2), MIDDLE]):
        assert tuple(marked("boxes", *things)[270, 200]) == colour_of_track(1)
    assert colour_of_track(1) != colour_of_track(2)


def test_a_colour_that_is_asked_for_is_taken() -> None:
    assert tuple(marked("boxes", MIDDLE, colour=(255, 0, 255))[270, 200]) == (255, 0, 255)
    assert (marked("hitmarker", MIDDLE, colour=(255, 0, 255)) == (255, 0, 255)).all(axis=2).any()


def test_a_hitmarker_is_a_white_cross_with_a_dark_edge_round_the_middle() -> None:
    image = marked("hitmarker", MIDDLE)
    rows, columns = np.nonzero((image == WHITE).all(axis=2)[:225])
    assert abs(rows.mean() - 194.5) < 3
    assert abs(columns.mean() - 199.5) < 3
    assert not painted(image)[192:198, 197:203].any()  # the very middle is left free
    around = painted(image)[150:225]
    assert (image[150:225][around] == BLACK).all(axis=1).sum() > 30


def test_a_hitmarker_grows_with_its_object_and_no_further_than_with_the_picture() -> None:
    def reach(half: float) -> int:
        thing = Thing(0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half, "", 1, None)
        rows, _ = np.nonzero((marked("hitmarker", thing, size=(800, 800)) == WHITE).all(axis=2)[:420])
        return int(400 - rows.min())

    assert 5 <= reach(0.001) < reach(0.06) < reach(0.1)
    assert reach(0.2) == reach(0.4) < 80


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_drawn_of_what_is_out_of_the_picture(name: Any) -> None:
    assert not painted(marked(name, Thing(1.2, 0.2, 1.4, 0.4), Thing(0.1, -0.5, 0.3, -0.1))).any()
    assert not painted(marked(name)).any()


def test_no_line_goes_over_a_label() -> None:
    label = painted(marked("boxes", MIDDLE))[:119]
    behind = marked("boxes", MIDDLE, Thing(0.3, 0.35, 0.4, 0.6, "", 5, None))
    rows, columns = np.nonzero(label)
    assert (behind[rows, columns] == marked("boxes", MIDDLE)[rows, columns]).all()


def readable(image: np.ndarray, name: Any, one: Thing) -> bool:
    """Its label in full."""
    letters, ground, ink = MIN_FONT_SIZE, (40, 40, 40), WHITE
    if name == "boxes":
        letters, ground = max(MIN_FONT_SIZE, round(min(image.shape[:2]) * FONT_SIZE)), colour_of_track(one.track)
        ink = contrast(ground)
    return is_label_visible(image, render_label(f"face  #{one.track}  0.87", letters, ground, ink))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "things",
    [
        [Thing(0.3, 0.4, 0.36, 0.5), Thing(0.38, 0.4, 0.44, 0.5, track=3), Thing(0.46, 0.4, 0.52, 0.5, track=5)],
        [Thing(0.3, 0.4, 0.8, 0.8, track=n) for n in range(4)],
        [Thing(0.8, 0, 1, 0.3), Thing(0.82, 0.02, 1, 0.25, track=3)],
    ],
)
def test_no_label_covers_another_where_there_is_room(name: Any, things: list[Thing]) -> None:
    image = marked(name, *things)
    assert [readable(image, name, one) for one in things] == [True] * len(things)


@pytest.mark.parametrize("name", NAMES)
def test_labels_keep_their_places_in_whatever_order_objects_come(name: Any) -> None:
    things = [Thing(x, 0.4, x + 0.06, 0.5, track=n) for n, x in ((1, 0.3), (2, 0.38), (3, 0.46))]
    assert (marked(name, *things) == marked(name, *reversed(things))).all()


def test_what_could_not_be_judged_is_told() -> None:
    image = np.full((300, 400, 3), GREY, np.uint8)
    draw_unjudged_notice(image)
    assert painted(image)[:10, :40].all()
    assert not painted(image)[60:].any()


fractions = st.floats(-100, 100)
things = st.builds(
    Thing,
    fractions,
    fractions,
    fractions,
    fractions,
    st.text(max_size=60),
    st.integers(0, 10**9),
    st.none() | st.floats(0, 1),
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(found=st.lists(things, max_size=3), width=st.integers(1, 60), height=st.integers(1, 60))
def test_any_finding_on_any_picture(name: Any, found: list[Thing], width: int, height: int) -> None:
    assert marked(name, *found, size=(width, height)).shape == (height, width, 3)


# -- plates


def test_a_text_is_set_once() -> None:
    assert render_label("once", 20, WHITE) is render_label("once", 20, WHITE)


def test_a_plate_has_its_ground_and_its_letters() -> None:
    made = render_label("face", 20, (255, 200, 0))
    assert tuple(made[0, 0]) == (255, 200, 0)
    assert (made == BLACK).all(axis=2).sum() > 20
    assert 15 < made.shape[0] < 40
    assert render_label("face", 40, (255, 200, 0)).shape[0] > 1.5 * made.shape[0]


@pytest.mark.parametrize(("left", "bottom"), [(50, 90), (-30, 0), (500, 500), (190, 90), (0, -500)])
def test_a_plate_is_laid_in_the_picture(left: int, bottom: int) -> None:
    image, words = np.full((100, 200, 3), GREY, np.uint8), render_label("face", 12, (255, 200, 0))
    paste_label(image, words, label_rect(image, words, left, bottom))
    assert painted(image).sum() == words.shape[0] * words.shape[1]


def test_a_plate_larger_than_the_picture_is_cut() -> None:
    image = np.full((5, 7, 3), GREY, np.uint8)
    words = render_label("face", 30, (255, 200, 0))
    paste_label(image, words, label_rect(image, words, 2, 3))
    assert painted(image).all()


def test_letters_that_the_font_lacks() -> None:
    assert (to_ascii("élève  Ñ\n"), to_ascii("人脸"), to_ascii("")) == ("eleve N", "", "")


def test_contrast() -> None:
    assert (contrast((255, 255, 0)), contrast((0, 0, 90))) == (BLACK, WHITE)


def test_long_labels_are_cut() -> None:
    short, long = (
        marked("boxes", Thing(0.25, 0.4, 0.75, 0.9, "x" * n), size=(2000, 900)) for n in (MAX_LABEL_LENGTH, 5000)
    )
    assert (short == long).all()
