"""Resizing: the exact size asked for, like a smooth picture should look, no memory kept, clear refusals."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.contract import EngineError
from engine.resize import Resize, resize_with_torch, resizer

Library = Literal["vips", "pillow"]
BOTH = pytest.mark.parametrize("library", ["vips", "pillow"])
LENGTHS = st.integers(1, 40) | st.sampled_from([1, 377, 378, 379, 1009])


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green grows downwards, blue is even."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, np.full((height, width), 90)], axis=2).astype(np.uint8)


@BOTH
@settings(max_examples=60, deadline=None)
@given(height=LENGTHS, width=LENGTHS, new_height=LENGTHS, new_width=LENGTHS)
def test_the_size_is_the_one_asked_for(
    library: Library, height: int, width: int, new_height: int, new_width: int
) -> None:
    resized = resizer(library)(np.full((height, width, 3), (1, 128, 254), np.uint8), new_width, new_height)
    assert (resized.shape, resized.dtype) == ((new_height, new_width, 3), np.dtype(np.uint8))
    assert (abs(resized.astype(int) - (1, 128, 254)) <= 1).all()  # an even picture stays even


@BOTH
@pytest.mark.parametrize(("width", "height"), [(378, 378), (90, 40), (1, 1), (700, 20)])
def test_a_ramp_stays_a_ramp(library: Library, width: int, height: int) -> None:
    resized = resizer(library)(ramp(120, 160), width, height).astype(int)
    larger = max(width / 160, height / 120, 1)
    difference = abs(resized - ramp(height, width))[4:-4, 4:-4]
    assert (difference <= 2 + 2 * larger).all()


@BOTH
def test_rows_of_another_array_are_pictures_too(library: Library) -> None:
    frame = ramp(60, 80)
    resize = resizer(library)
    for view in (frame[10:50:2, 5:70], frame[:, ::-1], np.asfortranarray(frame)):
        assert np.array_equal(resize(view, 33, 44), resize(view.copy("C"), 33, 44))
    frame.setflags(write=False)
    resized = resize(frame, 80, 60)
    assert np.array_equal(resized, frame)
    resized[:] = 0  # the result is the caller's own


@BOTH
@pytest.mark.parametrize(
    ("picture", "what"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 of shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((4, 0, 3), np.uint8), r"\(4, 0, 3\)"),
        ([[[0, 0, 0]]], "list"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(library: Library, picture: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"HxWx3 uint8 array, not .*{what}"):
        resizer(library)(picture, 8, 8)


def test_without_pyvips_pillow_serves_unless_vips_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    vips: Resize = resizer("vips")
    assert np.array_equal(resizer()(picture, 50, 50), vips(picture, 50, 50))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    assert np.array_equal(resizer()(picture, 50, 50), resizer("pillow")(picture, 50, 50))
    with pytest.raises(EngineError, match="pyvips"):
        resizer("vips")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux tells it")
@BOTH
def test_hundreds_of_pictures_leave_nothing_behind(library: Library) -> None:
    script = f"""
import os, threading, numpy as np
from pathlib import Path
from engine.resize import resizer
resize = resizer({library!r})
def pages(): return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
def threads(): return len(os.listdir("/proc/self/task"))
def work(n):
    for i in range(n): resize(np.full((600 + i % 7, 800, 3), i % 256, np.uint8), 96, 96)
work(5)
before = pages(), threads()
work(400)
print(pages() - before[0], threads() - before[1])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    grown, threads = map(float, done.stdout.split())
    assert grown < 25  # MB; all of the pictures are 550
    assert threads <= 2


@pytest.mark.parametrize(
    ("filter", "pillow"), [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)]
)
@pytest.mark.parametrize(("width", "height"), [(50, 30), (301, 170), (100, 80)])
def test_torch_resizes_noise_as_pillow_does_to_two_steps(
    filter: Literal["bilinear", "bicubic"], pillow: Image.Resampling, width: int, height: int
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    wanted = np.array(Image.fromarray(picture).resize((width, height), pillow))
    assert abs(resize_with_torch(picture, width, height, filter).astype(int) - wanted).max() <= 2
