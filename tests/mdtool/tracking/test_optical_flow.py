"""Cuts, flow, and how far a box moves."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from scenes_made import HEIGHT, WIDTH, Scene, Thing, texture

from mdtool.tracking import optical_flow
from mdtool.tracking.optical_flow import BLOCKS, Flow, coarse, is_cut, shift_of


def change(before: np.ndarray, after: np.ndarray) -> float:
    return optical_flow.change(coarse(before), coarse(after))


@pytest.mark.parametrize(("size", "shape"), [((320, 180), BLOCKS), ((180, 320), BLOCKS[::-1]), ((100, 100), BLOCKS)])
def test_coarse_pictures_lie_as_their_picture_does(size: tuple[int, int], shape: tuple[int, int]) -> None:
    assert coarse(texture(1, size=size)).shape == shape


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (320, 1), (1, 320), (1920, 1080)])
def test_coarse_pictures_of_any_size(size: tuple[int, int]) -> None:
    width, height = size
    grey = coarse(np.full((height, width), 77, np.uint8))
    assert grey.dtype == np.float32
    assert np.allclose(grey, 77)


@pytest.mark.parametrize("recent", [[], [0.5] * 8, [5.0] * 8])
def test_another_scene_is_a_cut(recent: list[float]) -> None:
    assert is_cut(change(texture(1), texture(2)), recent)


@pytest.mark.parametrize("light", [0.5, 0.2])
def test_another_scene_is_a_cut_in_the_dark_too(light: float) -> None:
    one, other = ((texture(number) * light).astype(np.uint8) for number in (1, 2))
    assert is_cut(change(one, other), [0.2] * 8)


def test_noise_in_the_dark_is_no_cut() -> None:
    random = np.random.default_rng(0)
    one, other = (random.normal(12, 8, (HEIGHT, WIDTH)).clip(0, 255).astype(np.uint8) for _ in range(2))
    assert not is_cut(change(one, other), [])


@pytest.mark.parametrize("recent", [[], [0.0] * 8])
def test_the_same_scene_is_no_cut(recent: list[float]) -> None:
    assert not is_cut(change(texture(1), texture(1)), recent)


def test_moving_things_are_no_cut() -> None:
    pictures = list(Scene(20, [Thing(lambda i: (20 + 15 * i, 90), size=(60, 80))]).pictures())
    changes = [change(a, b) for a, b in pairwise(pictures)]
    assert not any(is_cut(one, changes[:n]) for n, one in enumerate(changes))


def test_a_slow_fade_is_no_cut() -> None:
    one, other = texture(1).astype(float), texture(2).astype(float)
    pictures = [(one + (other - one) * n / 30).astype(np.uint8) for n in range(31)]
    changes = [change(a, b) for a, b in pairwise(pictures)]
    assert not any(is_cut(one, changes[max(0, n - 8) : n]) for n, one in enumerate(changes))


def test_a_cut_after_a_pan_is_still_one() -> None:
    pictures = [np.roll(texture(1), n, axis=1) for n in range(9)]
    changes = [change(a, b) for a, b in pairwise(pictures)]
    assert not is_cut(changes[-1], changes[:-1])
    assert is_cut(change(pictures[-1], 255 - texture(2)), changes)


def test_a_picture_that_goes_dark_is_a_cut() -> None:
    assert is_cut(change(texture(1), np.zeros((HEIGHT, WIDTH), np.uint8)), [1.0] * 8)


@pytest.mark.parametrize("move", [(0, 0), (3, 0), (-2, 4), (8, -5)])
def test_flow_follows_a_box(move: tuple[int, int]) -> None:
    thing = Thing(lambda i: (150 + move[0] * i, 90 + move[1] * i), size=(50, 60))
    before, after = Scene(2, [thing]).pictures()
    box = thing.box(0)
    assert box is not None
    assert shift_of(box, Flow().between(before, after)) == pytest.approx(move, abs=0.7)
    assert shift_of(np.array([0.0, 0, 60, 60]), Flow().between(before, after)) == pytest.approx((0, 0), abs=0.2)


FLOWS_OF_ALL_SIZES = """
import numpy as np
from mdtool.tracking.optical_flow import Flow

sizes = [(w, h) for w in range(1, 65) for h in range(1, 65)]
sizes += [(long, short) for long in (107, 320, 480) for short in range(1, 65)]
sizes += [(short, long) for long, short in sizes[4096:]] + [(3200, 240), (3840, 240), (1280, 96), (3840, 2), (4000, 31)]
flow, noise = Flow(), np.random.default_rng(0).integers(0, 256, (480, 4000), np.uint8)
for width, height in sizes:
    after = np.ascontiguousarray(noise[:height, :width])
    assert flow.between(np.roll(after, 1, axis=1), after).shape == (height, width, 2)
    assert Flow().between(after, after).shape == (height, width, 2)
print(len(sizes), "sizes")
"""


def test_flow_of_pictures_of_all_sizes() -> None:
    """In a process of its own, that a crash would end."""
    done = subprocess.run([sys.executable, "-c", FLOWS_OF_ALL_SIZES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "4485 sizes\n"), done.stderr


@pytest.mark.parametrize("size", [(80, 16), (320, 24), (24, 320), (20, 20)])
def test_flow_in_small_pictures_is_that_of_what_moves(size: tuple[int, int]) -> None:
    width, height = size
    ground = texture(1, size=(width + 2, height + 2), grain=6)
    before, after = ground[1 : height + 1, 2:], ground[1 : height + 1, :-2]  # two pixels to the right
    flow = Flow().between(np.ascontiguousarray(before), np.ascontiguousarray(after))
    assert shift_of(np.array([0.0, 0, width, height]), flow) == pytest.approx((2, 0), abs=0.5)


def test_the_shift_is_the_middles() -> None:
    flow = np.zeros((40, 60, 2), np.float32)
    flow[10:30, 20:40] = (5, -2)
    assert shift_of(np.array([20.0, 10, 40, 30]), flow).tolist() == [5, -2]
    assert shift_of(np.array([18.0, 8, 42, 32]), flow).tolist() == [5, -2]  # most of it
    assert shift_of(np.array([0.0, 0, 60, 40]), flow).tolist() == [0, 0]


@pytest.mark.parametrize(
    "box", [(-50, 5, -10, 20), (70, 5, 90, 20), (5, -40, 20, -1), (5, 50, 20, 80), (10, 10, 10, 20), (30, 10, 20, 20)]
)
def test_no_shift_where_there_is_nothing_of_the_box(box: tuple[int, ...]) -> None:
    assert shift_of(np.array(box, float), np.ones((40, 60, 2), np.float32)).tolist() == [0, 0]


def test_the_part_in_the_picture_tells_the_shift() -> None:
    assert shift_of(np.array([-20.0, -20, 15, 15]), np.full((40, 60, 2), 3, np.float32)).tolist() == [3, 3]
