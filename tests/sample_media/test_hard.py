"""Hard clips are what their kinds say, and their ground truth lists what a person can see."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from clip import Frame
from hard import FRAMES, KINDS, LUMA, MIN_CONTRAST, frames_of, write_hard_clip

MAKE = Path(__file__).parents[2] / "sample_media" / "make.py"


def brightness(frame: Frame) -> float:
    return float((frame.pixels @ LUMA).mean())


def change(before: Frame, after: Frame) -> float:
    return float(np.abs(after.pixels.astype(float) - before.pixels).mean())


def stretches(present: list[bool]) -> list[tuple[bool, int]]:
    return [(there, len(list(group))) for there, group in itertools.groupby(present)]


def test_every_kind_is_in_the_readme() -> None:
    readme = MAKE.with_name("README.md").read_text()
    assert len(KINDS) >= 16
    assert all(f"| `{kind}` |" in readme for kind in KINDS)


@pytest.mark.parametrize("kind", ["light", "visits", pytest.param("pan_horizontal", marks=pytest.mark.slow)])
def test_a_seed_is_a_variant_and_always_the_same(kind: str) -> None:
    once, again, other = (list(itertools.islice(frames_of(kind, seed), 6)) for seed in (1, 1, 2))
    assert all(np.array_equal(a.pixels, b.pixels) and a.boxes == b.boxes for a, b in zip(once, again, strict=True))
    assert once[0].pixels.shape != other[0].pixels.shape or change(once[0], other[0]) > 5


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def test_each_kind_has_faces_inside_the_image(kind: str) -> None:
    frames = list(frames_of(kind))
    assert len(frames) == FRAMES
    boxes = [box for frame in frames for box in frame.boxes.values()]
    height, width = frames[0].pixels.shape[:2]
    assert len(boxes) >= 12
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in boxes)


def test_a_strobe_hides_every_other_frame_and_no_face_is_listed_there() -> None:
    frames = list(frames_of("strobe"))
    assert all(brightness(frame) < 15 and not frame.boxes for frame in frames[1::2])
    assert all(brightness(frame) > 30 and frame.boxes for frame in frames[::2])


def test_a_face_is_listed_as_long_as_its_contrast_shows_it() -> None:
    """On the frames of a fade: each face that is listed has contrast, and on some frames none has."""
    frames = list(frames_of("fade"))
    for frame in frames:
        for x0, y0, x1, y1 in frame.boxes.values():
            luma = frame.pixels[round(y0) : round(y1), round(x0) : round(x1)] @ LUMA
            assert luma.std() > 0.8 * MIN_CONTRAST
    assert {bool(frame.boxes) for frame in frames} == {True, False}


def test_visits_last_at_most_three_frames_between_equal_ones() -> None:
    frames = list(frames_of("visits"))
    lengths = [length for there, length in stretches([bool(frame.boxes) for frame in frames]) if there]
    assert len(lengths) >= 6
    assert max(lengths) <= 3
    empty = [frame.pixels for frame in frames if not frame.boxes]
    assert all(np.array_equal(empty[0], other) for other in empty)
    widths = [x1 - x0 for frame in frames for x0, _, x1, _ in frame.boxes.values()]
    assert min(widths) < 42 < max(widths)


def test_a_jump_returns_to_an_equal_image() -> None:
    frames = list(frames_of("jump"))[: FRAMES // 2]
    assert len({frame.pixels.tobytes() for frame in frames}) == 2
    assert max(change(a, b) for a, b in itertools.pairwise(frames)) > 10


def test_montage_shots_last_two_to_four_frames() -> None:
    lengths = [length for _, length in stretches_of([min(frame.boxes) for frame in frames_of("montage")])]
    assert set(lengths[:-1]) <= {2, 3, 4}


def stretches_of(numbers: list[int]) -> list[tuple[int, int]]:
    return [(number, len(list(group))) for number, group in itertools.groupby(numbers)]


def test_pans_are_fast_and_blinds_close() -> None:
    frames = list(frames_of("pan_diagonal"))
    steps = [
        abs(b.boxes[number][0] - a.boxes[number][0]) / frames[0].pixels.shape[1]
        for a, b in itertools.pairwise(frames)
        for number in a.boxes.keys() & b.boxes.keys()
    ]
    assert 0.2 < max(steps) <= 0.5
    assert any(not frame.boxes for frame in frames_of("blinds"))


def test_visible_part_is_less_behind_a_car() -> None:
    parts = [part for frame in frames_of("traffic") for part in frame.visible.values()]
    assert 0.1 <= min(parts) < 0.5 < max(parts) == 1


def test_files_have_the_frames_of_their_ground_truth(tmp_path: Path) -> None:
    path = write_hard_clip(tmp_path, "low_rate", seed=2)
    truth = json.loads(Path(f"{path}.gt.json").read_text())
    assert (path.name, truth["video"], truth["label"]) == ("low_rate-2.mp4", "low_rate-2.mp4", "face")
    with av.open(path) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([frame["time"] for frame in truth["frames"]], abs=1e-6)
    assert np.diff(times) == pytest.approx(1 / 6, abs=0.01)


def test_make_writes_the_kinds_that_are_named(tmp_path: Path) -> None:
    command = [sys.executable, str(MAKE), str(tmp_path), "--hard", "--only"]
    subprocess.run([*command, "visits", "--seed", "7"], check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"visits-7.mp4", "visits-7.mp4.gt.json"}
    unknown = subprocess.run([*command, "storm"], capture_output=True, text=True)
    assert unknown.returncode == 2
    assert "--only storm: choose from strobe, " in unknown.stderr
