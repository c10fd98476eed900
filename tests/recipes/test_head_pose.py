"""The direction of a head, from landmarks that are made by looking at a face in a known pose."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import Point
from recipes.head_pose import FACE, FACING, FOCAL, HeadPose, head_pose, ray_end

WIDTH, HEIGHT = 1280, 720
PAIRS = [1, 0, 2, 4, 3]  # the rows of a mirrored face
AHEAD = (0.0, 0.0, 600.0)
ASIDE = (220.0, -120.0, 700.0)
FAR_OFF = (-300.0, 150.0, 1500.0)


def turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3): rolls, then lifts, then turns a face that looks into the camera."""
    (a, b), (c, d), (e, f) = ((math.cos(math.radians(x)), math.sin(math.radians(x))) for x in (yaw, pitch, roll))
    yawed = np.array([[a, 0, -b], [0, 1, 0], [b, 0, a]])
    pitched = np.array([[1, 0, 0], [0, c, d], [0, -d, c]])
    rolled = np.array([[e, -f, 0], [f, e, 0], [0, 0, 1]])
    turned: np.ndarray = yawed @ pitched @ rolled
    return turned


def seen(
    rotation: np.ndarray, place: tuple[float, float, float], width: int = WIDTH, height: int = HEIGHT
) -> np.ndarray:
    """(5, 2): the landmarks of a face at that place, in fractions of the picture."""
    points = FACE @ rotation.T + np.array(place)
    pixels = points[:, :2] / points[:, 2:] * FOCAL * max(width, height) + (width / 2, height / 2)
    fractions: np.ndarray = pixels / (width, height)
    return fractions


def pose(landmarks: np.ndarray, width: int = WIDTH, height: int = HEIGHT) -> HeadPose:
    found = head_pose(landmarks, width, height)
    assert found is not None
    return found


def apart(a: HeadPose, rotation: np.ndarray) -> float:
    """Degrees between the two poses."""
    cosine = (np.trace(turn(a.yaw, a.pitch, a.roll).T @ rotation) - 1) / 2
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


@pytest.mark.parametrize("place", [AHEAD, ASIDE, FAR_OFF])
def test_a_known_pose_is_found_again(place: tuple[float, float, float]) -> None:
    for yaw, pitch, roll in product((-60, -30, 0, 30, 60), (-40, -15, 0, 15, 40), (-120, -45, 0, 45, 90, 180)):
        rotation = turn(yaw, pitch, roll)
        assert apart(pose(seen(rotation, place)), rotation) < 0.5


def test_a_pixel_of_error_costs_a_few_degrees() -> None:
    noise = np.random.default_rng(0)
    errors = []
    for yaw, pitch, roll in product((-50, -20, 0, 20, 50), (-30, 0, 30), (-60, 0, 60)):
        rotation = turn(yaw, pitch, roll)
        blurred = seen(rotation, AHEAD) + noise.normal(0, 1, (5, 2)) / (WIDTH, HEIGHT)
        errors.append(apart(pose(blurred), rotation))
    assert np.median(errors) < 2
    assert max(errors) < 10


def test_angles_have_the_signs_that_are_promised() -> None:
    assert pose(seen(turn(30, 0, 0), AHEAD)).yaw == pytest.approx(30, abs=0.1)
    assert pose(seen(turn(0, 20, 0), AHEAD)).pitch == pytest.approx(20, abs=0.1)
    assert pose(seen(turn(0, 0, 25), AHEAD)).roll == pytest.approx(25, abs=0.1)
    right, up, rolled = (seen(turn(*angles), AHEAD) for angles in ((30, 0, 0), (0, 20, 0), (0, 0, 25)))
    assert right[2, 0] > right[:2, 0].mean()  # the nose goes where the head turns
    assert up[2, 1] < seen(np.eye(3), AHEAD)[2, 1]
    assert rolled[1, 1] > rolled[0, 1]  # clockwise: the eye on the right sinks


def test_the_direction_is_where_the_head_points() -> None:
    for angles, expected in (
        ((45, 0, 0), (1, 0)),
        ((-45, 0, 0), (-1, 0)),
        ((0, 35, 0), (0, -1)),
        ((0, -35, 0), (0, 1)),
    ):
        assert pose(seen(turn(*angles), AHEAD)).direction == pytest.approx(expected, abs=0.01)
    assert pose(seen(turn(45, 0, 70), AHEAD)).direction == pytest.approx((1, 0), abs=0.01)  # a roll changes nothing


@pytest.mark.parametrize("place", [AHEAD, ASIDE, FAR_OFF])
def test_the_direction_is_that_of_a_pointer_before_the_face(place: tuple[float, float, float]) -> None:
    for yaw, pitch in product((-50, -25, 25, 50), (-30, 0, 30)):
        rotation = turn(yaw, pitch, 15)
        start = np.array(place)
        x, y, depth = np.array([start, start - rotation[:, 2]]).T
        step = np.array([np.diff(x / depth)[0], np.diff(y / depth)[0]])
        assert pose(seen(rotation, place)).direction == pytest.approx(step / np.linalg.norm(step), abs=0.02)


@pytest.mark.parametrize("place", [AHEAD, ASIDE, FAR_OFF])
def test_a_face_that_looks_into_the_camera_looks_at_nothing_in_the_picture(place: tuple[float, float, float]) -> None:
    x, y, depth = place
    yaw, pitch = math.degrees(math.atan2(-x, depth)), math.degrees(math.atan2(y, math.hypot(x, depth)))
    assert pose(seen(turn(yaw, pitch, 0), place)).direction is None
    assert pose(seen(turn(yaw, pitch, 0), place)).yaw == pytest.approx(yaw, abs=0.5)
    assert pose(seen(turn(yaw, pitch + FACING - 2, 30), place)).direction is None
    assert pose(seen(turn(yaw, pitch + FACING + 2, 30), place)).direction is not None


@settings(max_examples=40, deadline=None)
@given(st.floats(-55, 55), st.floats(-35, 35), st.floats(-90, 90), st.integers(0, 99))
def test_a_mirrored_picture_gives_the_mirrored_pose(yaw: float, pitch: float, roll: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.5, (5, 2)) / (WIDTH, HEIGHT)
    landmarks = seen(turn(yaw, pitch, roll), AHEAD) + noise
    here, there = pose(landmarks), pose(np.array([1, 0] + landmarks * [-1, 1])[PAIRS])
    assert (there.yaw, there.pitch, there.roll) == pytest.approx((-here.yaw, here.pitch, -here.roll), abs=0.1)
    if here.direction and there.direction:
        assert there.direction == pytest.approx((-here.direction[0], here.direction[1]), abs=0.01)
    else:
        assert abs(math.hypot(here.yaw, here.pitch) - FACING) < 1 or here.direction == there.direction


def test_the_pose_is_the_same_at_any_size_of_the_picture() -> None:
    landmarks = seen(turn(30, 10, 5), AHEAD)
    large, small = pose(landmarks), pose(landmarks, WIDTH // 4, HEIGHT // 4)
    assert (small.yaw, small.pitch, small.roll) == pytest.approx((large.yaw, large.pitch, large.roll), abs=0.01)


def test_an_upright_picture_is_served_too() -> None:
    rotation = turn(-35, 10, 20)
    assert apart(pose(seen(rotation, AHEAD, HEIGHT, WIDTH), HEIGHT, WIDTH), rotation) < 0.5


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 0.5),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        np.zeros((5, 2)),
        np.linspace([0.2, 0.2], [0.8, 0.8], 5),
        np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.9], [0.5, 0.9]]),
        np.array([[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9], [0.5, 0.0]]),
        seen(np.eye(3), AHEAD)[[3, 4, 2, 1, 0]],
        seen(np.eye(3), (0.0, 0.0, 60000.0)),
    ],
)
def test_what_is_no_face_has_no_pose(landmarks: np.ndarray) -> None:
    assert head_pose(landmarks, WIDTH, HEIGHT) is None


def test_a_head_that_is_turned_away_has_no_pose() -> None:
    for yaw, pitch in product((-110, -100, 100, 110), (-20, 0, 20)):
        assert head_pose(seen(turn(yaw, pitch, 0), AHEAD), WIDTH, HEIGHT) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=10), st.integers(1, 4000), st.integers(1, 4000))
def test_any_landmarks_are_answered(numbers: list[float], width: int, height: int) -> None:
    found = head_pose(np.array(numbers).reshape(5, 2), width, height)
    if found and found.direction:
        assert math.hypot(*found.direction) == pytest.approx(1)


def test_scattered_points_are_seldom_taken_for_a_face() -> None:
    scatter = np.random.default_rng(0)
    assert sum(head_pose(scatter.random((5, 2)), WIDTH, HEIGHT) is not None for _ in range(300)) < 10


def test_landmarks_of_another_number_are_named() -> None:
    for shape in ((4, 2), (5, 3), (10,)):
        with pytest.raises(ValueError, match="five landmarks"):
            head_pose(np.zeros(shape), WIDTH, HEIGHT)


def test_a_line_ends_at_the_border() -> None:
    eye = Point(0.5, 0.5)
    slope = math.sqrt(0.5)
    for direction, end in (((1.0, 0.0), (1, 0.5)), ((-1.0, 0.0), (0, 0.5)), ((0.0, -1.0), (0.5, 0))):
        found = ray_end(eye, direction, 200, 100)
        assert (found.x, found.y) == pytest.approx(end)
    found = ray_end(eye, (slope, slope), 200, 100)  # pixels are square, so the lower border comes first
    assert (found.x, found.y) == pytest.approx((0.75, 1))


def test_a_line_ends_after_its_length() -> None:
    found = ray_end(Point(0.5, 0.5), (0.6, -0.8), 200, 100, length=20)
    assert (found.x, found.y) == pytest.approx((0.56, 0.34))
    assert ray_end(Point(0.9, 0.5), (1.0, 0.0), 200, 100, length=500) == Point(1, 0.5)


@given(
    st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.floats(0, 2 * math.pi), st.integers(1, 4000), st.integers(1, 4000)
)
def test_a_line_ends_on_the_border_from_anywhere(x: float, y: float, angle: float, width: int, height: int) -> None:
    end = ray_end(Point(x, y), (math.cos(angle), math.sin(angle)), width, height)
    assert 0 <= end.x <= 1
    assert 0 <= end.y <= 1
    assert min(end.x, end.y, 1 - end.x, 1 - end.y) == pytest.approx(0, abs=1e-6)
