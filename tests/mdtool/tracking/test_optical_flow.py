"""Flow, and how far a box moves."""

import subprocess
import sys

import numpy as np
import pytest
from synthetic_video import MovingObject, Scene, texture

from mdtool.tracking.optical_flow import OpticalFlow, box_shift


@pytest.mark.parametrize("move", [(0, 0), (3, 0), (-2, 4), (8, -5)])
def test_flow_follows_a_box(move: tuple[int, int]) -> None:
    thing = MovingObject(lambda i: (150 + move[0] * i, 90 + move[1] * i), size=(50, 60))
    before, after = Scene(2, [thing]).pictures()
    box = thing.box(0)
    assert box is not None
    assert box_shift(box, OpticalFlow().between(before, after)) == pytest.approx(move, abs=0.7)
    assert box_shift(np.array([0.0, 0, 60, 60]), OpticalFlow().between(before, after)) == pytest.approx((0, 0), abs=0.2)


FLOWS_OF_ALL_SIZES = """
import numpy as np
from mdtool.tracking.optical_flow import OpticalFlow

sizes = [(w, h) for w in range(1, 65) for h in range(1, 65)]
sizes += [(long, short) for long in (107, 320, 480) for short in range(1, 65)]
sizes += [(short, long) for long, short in sizes[4096:]] + [(3200, 240), (3840, 240), (1280, 96), (3840, 2), (4000, 31)]
flow, noise = OpticalFlow(), np.random.default_rng(0).integers(0, 256, (480, 4000), np.uint8)
for width, height in sizes:
    after = np.ascontiguousarray(noise[:height, :width])
    assert flow.between(np.roll(after, 1, axis=1), after).shape == (height, width, 2)
    assert OpticalFlow().between(after, after).shape == (height, width, 2)
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
    flow = OpticalFlow().between(np.ascontiguousarray(before), np.ascontiguousarray(after))
    assert box_shift(np.array([0.0, 0, width, height]), flow) == pytest.approx((2, 0), abs=0.5)


def test_the_shift_is_the_middles() -> None:
    flow = np.zeros((40, 60, 2), np.float32)
    flow[10:30, 20:40] = (5, -2)
    assert box_shift(np.array([20.0, 10, 40, 30]), flow).tolist() == [5, -2]
    assert box_shift(np.array([18.0, 8, 42, 32]), flow).tolist() == [5, -2]  # most of it
    assert box_shift(np.array([0.0, 0, 60, 40]), flow).tolist() == [0, 0]


@pytest.mark.parametrize(
    "box", [(-50, 5, -10, 20), (70, 5, 90, 20), (5, -40, 20, -1), (5, 50, 20, 80), (10, 10, 10, 20), (30, 10, 20, 20)]
)
def test_no_shift_where_there_is_nothing_of_the_box(box: tuple[int, ...]) -> None:
    assert box_shift(np.array(box, float), np.ones((40, 60, 2), np.float32)).tolist() == [0, 0]


def test_the_part_in_the_picture_tells_the_shift() -> None:
    assert box_shift(np.array([-20.0, -20, 15, 15]), np.full((40, 60, 2), 3, np.float32)).tolist() == [3, 3]
