"""What was found, drawn on a copy: where it is, in a colour that stays, and readable at every size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_pixels import is_label_visible

from engine.contract import Box, Point
from recipes.draw import COLOURS, FONT_SIZE, MIN_FONT_SIZE, colour_of, colours_of, draw
from recipes.text_labels import contrast, render_label

GREY = 90


def canvas(width: int = 400, height: int = 300) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def painted(image: np.ndarray) -> np.ndarray:
    """HxW: where something was drawn."""
    mask: np.ndarray = (image != GREY).any(axis=2)
    return mask


def test_the_picture_itself_is_left_alone() -> None:
    image = canvas()
    marked = draw(image, [Box(0.2, 0.2, 0.8, 0.8, "face")])
    assert not painted(image).any()
    assert marked.shape == image.shape
    assert marked.dtype == np.uint8
    assert painted(marked).any()


def test_nothing_found_is_nothing_drawn() -> None:
    assert not painted(draw(canvas(), [])).any()


def test_a_box_is_outlined_where_it_is_and_empty_inside() -> None:
    marked = draw(canvas(), [Box(0.25, 0.5, 0.75, 0.9)])
    rows, columns = np.nonzero(painted(marked))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (100, 300, 150, 270)
    assert not painted(marked)[156:264, 106:294].any()


def test_a_point_is_dotted_where_it_is() -> None:
    rows, columns = np.nonzero(painted(draw(canvas(), [Point(0.5, 0.5)])))
    assert abs(rows.mean() - 150) < 1
    assert abs(columns.mean() - 200) < 1
    assert np.ptp(rows) < 20


def test_lines_and_letters_grow_with_the_picture() -> None:
    def share(scale: int) -> float:
        return float(painted(draw(canvas(400 * scale, 300 * scale), [Box(0.3, 0.3, 0.7, 0.7, "face", 0.5)])).mean())

    assert share(8) == pytest.approx(share(4), rel=0.1)


def test_the_label_is_written_beside_the_box() -> None:
    bare, named = (painted(draw(canvas(), [Box(0.25, 0.5, 0.75, 0.9, label)])) for label in ("", "face"))
    added = named & ~bare
    assert added.sum() > 100
    rows, columns = np.nonzero(added)
    assert rows.max() <= 156
    assert columns.min() >= 95


def readable(image: np.ndarray, one: Box | Point) -> bool:
    """Its label in full."""
    score = f" {one.score:.2f}" if isinstance(one, Box) and one.score is not None else ""
    letters = max(MIN_FONT_SIZE, round(min(image.shape[:2]) * FONT_SIZE))
    colour = colour_of(one.label)
    return is_label_visible(image, render_label(f"{one.label}{score}", letters, colour, contrast(colour)))


@pytest.mark.parametrize(
    "found",
    [
        [Box(0.2, 0.4, 0.26, 0.6, "face", 0.5), Box(0.28, 0.4, 0.34, 0.6, "nose", 0.5)],  # narrower than their words
        [Box(0.2, 0.4, 0.8, 0.8, name) for name in ("face", "nose", "mouth", "left ear", "chin")],  # all at one place
        [Box(0.8, 0.0, 1.0, 0.4, "face"), Box(0.83, 0.05, 0.99, 0.3, "nose")],  # where the picture ends
        [Point(0.5, 0.5, "face"), Point(0.53, 0.49, "nose"), Point(0.47, 0.52, "chin")],
        [Point(0.99, 0.99, "face"), Point(0.94, 0.9, "nose")],
    ],
)
def test_labels_cover_neither_each_other_nor_points_where_there_is_room(found: list[Box | Point]) -> None:
    image = draw(canvas(), found)
    for one in found:
        assert readable(image, one)
        if isinstance(one, Point):
            assert tuple(image[int(one.y * 300), int(one.x * 400)]) == colour_of(one.label)


def test_labels_without_room_are_written_all_the_same() -> None:
    found = [Box(0.1, 0.1, 0.9, 0.9, "face", n / 100) for n in range(40)]
    assert readable(draw(canvas(60, 40), found), found[-1])


def test_a_score_is_written_too() -> None:
    without, scored = (painted(draw(canvas(), [Box(0.2, 0.5, 0.8, 0.9, "face", s)])).sum() for s in (None, 0.87))
    assert scored > without


def test_a_label_that_the_font_lacks_is_left_out_but_one_with_accents_is_not() -> None:
    def ink(label: str) -> np.ndarray:
        return painted(draw(canvas(), [Box(0.2, 0.5, 0.8, 0.9, label)]))

    assert (ink("人脸") == ink("")).all()
    assert (ink("élève") == ink("eleve")).all()


def test_a_label_keeps_its_colour_and_labels_differ() -> None:
    assert {colour_of(f"thing {n}") for n in range(100)} == set(COLOURS)
    face, nose = Box(0.1, 0.3, 0.4, 0.9, "face"), Box(0.5, 0.3, 0.9, 0.9, "nose")
    assert colour_of("face") != colour_of("nose")
    for found in ([face, nose], [nose, face], [nose]):
        assert tuple(draw(canvas(), found)[200, 200]) == colour_of("nose")


def test_labels_whose_colours_are_the_same_get_different_ones() -> None:
    labels = ["red circle", "blue circle", "star", "face", "nose", "mouth", "eye"]
    assert len({colour_of(label) for label in labels}) < len(COLOURS)
    chosen = colours_of(labels)
    assert list(chosen) == labels
    assert set(chosen.values()) == set(COLOURS)
    assert chosen["red circle"] == colour_of("red circle")
    assert colours_of(["star"])["star"] == colour_of("star")
    assert colours_of([*labels, "one more"])["one more"] == colour_of("one more")
    marked = draw(canvas(), [Box(0.1, 0.3, 0.4, 0.9, "star")], chosen)
    assert tuple(marked[200, 40]) == chosen["star"] != colour_of("star")


fractions = st.floats(-3, 3)
things = st.one_of(
    st.builds(Box, fractions, fractions, fractions, fractions, st.text(max_size=30), st.none() | st.floats(0, 1)),
    st.builds(Point, fractions, fractions, st.text(max_size=30)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(things, max_size=3), st.integers(1, 60), st.integers(1, 60))
def test_any_finding_on_any_picture(found: list[Box | Point], width: int, height: int) -> None:
    assert draw(canvas(width, height), found).shape == (height, width, 3)
