"""Pictures show what their scenes say, where the boxes and owners say."""

import math
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest

from engine.pocket.draw import EYE, EYE_APART, EYE_UP, Drawing, draw
from engine.pocket.scene import (
    COLOURS,
    FACE,
    KINDS,
    SHAPES,
    SIGN,
    SKIN,
    Background,
    Colour,
    Degradation,
    Scene,
    SceneObject,
)

GREY: Colour = (128, 128, 128)
PLAIN, UNWORN = Background("plain", GREY, GREY), Degradation()
DIGITS = "0123456789"


def scene_of(
    *things: SceneObject, background: Background = PLAIN, degradation: Degradation = UNWORN, seed: int = 0
) -> Scene:
    return Scene(160, 120, background, things, degradation, seed)


def thing_of(
    kind: str, colour: str = "red", x: float = 80, y: float = 60, size: float = 60, angle: float = 0
) -> SceneObject:
    if kind == FACE:
        return SceneObject(FACE, "", SKIN[1], x, y, size)
    return SceneObject(kind, colour, COLOURS[colour], x, y, size, angle, digits="42" if kind == SIGN else "")


def painted(drawing: Drawing) -> np.ndarray:
    """Where it is not the background, but for the faint fringe of smooth edges."""
    mask: np.ndarray = np.abs(drawing.pixels - np.array(GREY)).max(-1) > 53
    return mask


def bounds(mask: np.ndarray) -> list[int]:
    """Of the marked pixels: x0, y0, x1, y1, in pixels."""
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def whole(mask: np.ndarray) -> np.ndarray:
    """The marked pixels all round which are marked ones, two deep: a smooth edge is up to two pixels wide."""
    return cv2.erode(mask.astype(np.uint8), np.ones((5, 5)), borderValue=1) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("x", "y", "size"), [(80, 60, 60), (50.3, 70.8, 41.7), (91.5, 40.25, 30)])
def test_boxes_are_round_the_pixels(kind: str, x: float, y: float, size: float) -> None:
    for angle in (0, 0.37, -0.2) if kind in SHAPES else (0,):
        drawing = draw(scene_of(thing_of(kind, x=x, y=y, size=size, angle=angle)))
        (box,) = drawing.boxes
        np.testing.assert_allclose(bounds(painted(drawing)), box, atol=1.2)


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_cut_has_the_box_of_what_is_left(kind: str) -> None:
    drawing = draw(scene_of(thing_of(kind, x=8, y=115, size=50)))
    (box,) = drawing.boxes
    assert box[0] == 0
    assert box[3] == 120
    x0, y0, x1, y1 = draw(scene_of(thing_of(kind, size=50))).boxes[0]  # whole
    assert box[1:3] == pytest.approx((y0 + 55, x1 - 72))
    (box,) = draw(scene_of(thing_of(kind, x=152, y=5, size=50))).boxes
    assert box == pytest.approx((x0 + 72, 0, 160, y1 - 55))


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("circle", math.pi / 4),
        ("square", 0.98**2 / 2),
        ("triangle", math.sqrt(27) / 16),
        ("ring", math.pi / 4 * (1 - 0.55**2)),
        ("cross", (0.6 * 1.88 * 2 - 0.6**2) / 4),
        (SIGN, 0.68),
        (FACE, math.pi / 4 * 0.8),
    ],
)
def test_shapes_have_the_area_of_their_geometry(kind: str, share: float) -> None:
    """share: of the square of the size. The pixels of the outline belong to it, about half of which lie outside."""
    drawing = draw(scene_of(thing_of(kind, size=100)))
    assert share - 0.001 < (drawing.owners == 1).sum() / 100**2 < share + 0.03


@pytest.mark.parametrize("kind", SHAPES)
def test_owners_agree_with_the_colours(kind: str) -> None:
    drawing = draw(scene_of(thing_of(kind, angle=0.3)))
    owned = drawing.owners == 1
    assert owned.any()
    assert (drawing.pixels[whole(owned)] == COLOURS["red"]).all()
    assert (drawing.pixels[whole(~owned)] == GREY).all()


@pytest.mark.parametrize("kind", [SIGN, FACE])
def test_signs_and_faces_own_all_that_is_drawn_on_them(kind: str) -> None:
    drawing = draw(scene_of(thing_of(kind)))
    owned, drawn = drawing.owners == 1, (drawing.pixels != GREY).any(-1)
    assert drawn[whole(owned)].all()
    assert not drawn[whole(~owned)].any()


def test_the_hole_of_a_ring_is_background() -> None:
    drawing = draw(scene_of(thing_of("circle", "blue", x=30, size=30), thing_of("ring", size=80)))
    assert tuple(drawing.pixels[60, 80]) == GREY
    assert drawing.owners[60, 80] == 0
    assert drawing.owners[60, 80 + 31] == 2
    inside = draw(scene_of(thing_of("circle", "blue", size=30), thing_of("ring", size=80)))
    assert inside.owners[60, 80] == 1
    assert tuple(inside.pixels[60, 80]) == COLOURS["blue"]


def test_later_things_cover_earlier_ones() -> None:
    things = thing_of("circle", "red", x=60), thing_of("circle", "blue", x=90)
    drawing, alone = draw(scene_of(*things)), [draw(scene_of(thing)) for thing in things]
    both = (alone[0].owners > 0) & (alone[1].owners > 0)
    assert both.any()
    assert (drawing.owners[both] == 2).all()
    assert (drawing.pixels[whole(both)] == COLOURS["blue"]).all()
    assert drawing.boxes == (*alone[0].boxes, *alone[1].boxes)
    turned = draw(scene_of(*reversed(things)))
    assert (turned.pixels[whole(both)] == COLOURS["red"]).all()


def glances(drawing: Drawing, face: SceneObject) -> list[np.ndarray]:
    """From the middle of each eye to that of its pupil, as a share of the eye's radius."""
    y, x = np.mgrid[: drawing.pixels.shape[0], : drawing.pixels.shape[1]] + 0.5
    dark = drawing.pixels.max(-1) < 80
    found = []
    for side in (-1, 1):
        eye = np.array((face.x + side * EYE_APART * face.size, face.y - EYE_UP * face.size))
        radius = EYE * face.size
        pupil = dark & (np.hypot(x - eye[0], y - eye[1]) < radius)
        found.append((np.array((x[pupil].mean(), y[pupil].mean())) - eye) / radius)
    return found


@pytest.mark.parametrize(("x", "y"), [(150, 60), (10, 60), (80, 5), (80, 115), (140, 100), (25, 20)])
def test_pupils_turn_towards_what_a_face_looks_at(x: float, y: float) -> None:
    face = replace(thing_of(FACE, size=90), looks_at=0)
    target = thing_of("circle", x=x, y=y, size=2)
    towards = np.array((x - face.x, y - face.y))
    for glance in glances(draw(scene_of(target, face)), face):
        np.testing.assert_allclose(glance, 0.46 * towards / np.hypot(*towards), atol=0.04)


def test_pupils_are_in_the_middle_of_eyes_that_look_at_nothing() -> None:
    face = thing_of(FACE, size=90)
    for glance in glances(draw(scene_of(thing_of("circle", x=150, size=8), face)), face):
        np.testing.assert_allclose(glance, (0, 0), atol=0.04)


def ink(drawing: Drawing, colour: Colour) -> np.ndarray:
    """Where a sign has not its own colour."""
    mask: np.ndarray = whole(drawing.owners == 1) & (drawing.pixels != colour).any(-1)
    return mask


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", [26, 60, 100])
def test_digits_stand_out_from_their_sign(colour: str, size: float) -> None:
    drawing, paint = draw(scene_of(thing_of(SIGN, colour, size=size))), COLOURS[colour]
    written = ink(drawing, paint)
    assert 0.05 < written.sum() / (drawing.owners == 1).sum() < 0.55
    assert np.linalg.norm(drawing.pixels[written] - np.array(paint), axis=-1).max() > 190
    x0, y0, x1, y1 = bounds(written)
    assert (x0 + x1) / 2 == pytest.approx(80, abs=1.5)
    assert (y0 + y1) / 2 == pytest.approx(60, abs=1.5)


def test_each_number_looks_different_and_stays_on_its_sign() -> None:
    signs = [
        replace(thing_of(SIGN, size=70), digits=digits) for digits in (*DIGITS, *map("".join, product(DIGITS, DIGITS)))
    ]
    drawings = [draw(scene_of(sign)) for sign in signs]
    assert len({drawing.pixels.tobytes() for drawing in drawings}) == 110
    rim = ~whole(drawings[0].owners == 1)
    assert all((drawing.pixels[rim] == drawings[0].pixels[rim]).all() for drawing in drawings)


def test_the_same_scene_draws_the_same() -> None:
    scene = scene_of(thing_of("star"), degradation=Degradation(0.8, 6.0, 60), seed=3)
    one, other = draw(scene), draw(scene)
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.owners, other.owners)
    assert one.boxes == other.boxes
    assert not np.array_equal(one.pixels, draw(replace(scene, seed=4)).pixels)
    assert one.pixels.shape == (120, 160, 3)
    assert one.owners.shape == (120, 160)
    assert one.pixels.dtype == one.owners.dtype == np.uint8


@pytest.mark.parametrize("degradation", [Degradation(blur=1.0), Degradation(noise=5.0), Degradation(jpeg=50)])
def test_wear_changes_the_picture_alone(degradation: Degradation) -> None:
    things = thing_of("star", "red", x=50), thing_of("cross", "blue", x=110)
    clean, worn = draw(scene_of(*things)), draw(scene_of(*things, degradation=degradation))
    assert not np.array_equal(clean.pixels, worn.pixels)
    assert np.array_equal(clean.owners, worn.owners)
    assert clean.boxes == worn.boxes
    for y, x in ((60, 50), (60, 110)):  # red stays red
        around = worn.pixels[y - 3 : y + 4, x - 3 : x + 4].astype(float).mean((0, 1))
        np.testing.assert_allclose(around, clean.pixels[y, x], atol=8)


def test_noise_is_as_strong_as_it_says() -> None:
    off = draw(scene_of(degradation=Degradation(noise=5.0))).pixels.astype(float) - 128
    assert off.std() == pytest.approx(5, rel=0.03)
    assert off.mean() == pytest.approx(0, abs=0.1)


def test_blur_spreads_an_edge_as_far_as_it_says() -> None:
    """Across a straight edge a blurred picture is the Gaussian's distribution function."""
    black = thing_of("square", "black", size=100)
    sharp, soft = (
        draw(scene_of(black, degradation=Degradation(blur=blur))).pixels[:, 80, 0].astype(float)  # from above to below
        for blur in (0, 1.2)
    )
    spread = np.abs(np.diff(soft[:60])) / (128 - 22)
    where = np.arange(59)
    middle = (spread * where).sum()
    assert math.sqrt((spread * (where - middle) ** 2).sum()) == pytest.approx(1.2, abs=0.2)
    assert np.abs(np.diff(sharp)).max() > 2 * np.abs(np.diff(soft)).max()


FIRST, SECOND = (100, 110, 120), (140, 130, 120)


@pytest.mark.parametrize("kind", ["gradient", "striped", "checked", "spotted"])
def test_backgrounds_go_from_their_first_to_their_second_colour(kind: str) -> None:
    pixels = draw(scene_of(background=Background(kind, FIRST, SECOND, 12, 0.5))).pixels
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    assert {FIRST, SECOND} <= colours
    low, high = np.minimum(FIRST, SECOND), np.maximum(FIRST, SECOND)
    assert all(((low <= colour) & (colour <= high)).all() for colour in np.array(list(colours)))


def test_a_plain_background_is_its_first_colour() -> None:
    drawing = draw(scene_of(background=Background("plain", FIRST, SECOND)))
    assert (drawing.pixels == FIRST).all()
    assert not drawing.owners.any()
    assert drawing.boxes == ()


def test_patterns_lie_as_their_period_and_angle_say() -> None:
    """A stripe is a period wide."""
    upright = draw(scene_of(background=Background("striped", FIRST, SECOND, 10))).pixels
    assert (upright[:, 5::20] == SECOND).all()
    assert (upright[:, 15::20] == FIRST).all()
    lying = draw(scene_of(background=Background("striped", FIRST, SECOND, 10, math.pi / 2))).pixels
    assert (lying[5::20] == SECOND).all()
    assert (lying[15::20] == FIRST).all()
    checked = draw(scene_of(background=Background("checked", FIRST, SECOND, 10))).pixels
    assert (checked[5::20, 5::20] == SECOND).all()
    assert (checked[15::20, 15::20] == SECOND).all()
    assert (checked[5::20, 15::20] == FIRST).all()
    spots = [
        (draw(scene_of(background=Background(kind, FIRST, SECOND, 10))).pixels == SECOND).all(-1).mean()
        for kind in ("checked", "spotted")
    ]
    assert spots[1] < 0.75 * spots[0]
