"""Faces are hidden in pictures that were taken with the camera turned, which no tag states."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from cli_runner import redact, run
from make_media import (
    FACE,
    add_video,
    constant_rate_times,
    frames_of,
    mux,
    portrait,
    scenery,
)
from PIL import Image

import engine
from mdtool.media.image.display_matrix import Orientation
from mdtool.media.video.frame import Frame
from mdtool.tracking.detector import ImageFindings, object_detector
from mdtool.tracking.turned_views import AUTO, ViewSearch, turned_detector
from recipes.boxes import iou
from recipes.regions import GazeEstimate, Region

# Counter-clockwise quarter turns of the picture, and the view in which it is upright.
TURNS = {1: "90", 2: "180", 3: "270"}
SIDE, FACE_SIDE = 160, 96  # pixels of the square picture, and of the portrait in its middle
# Upright the portrait scores 0.85, turned at most 0.4.
STRICT = ("--threshold", "0.5")
BLACK = ("--style", "solid", *STRICT)


def turned_video(path: Path, quarters: Sequence[int | None], rate: int = 30) -> Path:
    """Write a lossless video of a face; for each frame its counter-clockwise quarter turns, None: without a face."""
    with av.open(str(path), "w") as container:
        stream = add_video(container, "ffv1", (SIDE, SIDE), rate)
        packets = []
        for number, (turns, time) in enumerate(zip(quarters, constant_rate_times(len(quarters), rate), strict=True)):
            frame = av.VideoFrame.from_ndarray(picture(number, turns), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time * 90000), Fraction(1, 90000)
            packets += stream.encode(frame)
        mux(container, [*packets, *stream.encode(None)])
    return path


def picture(number: int, turns: int | None) -> np.ndarray:
    """Return a square image with a face in its middle; None: without it."""
    image = scenery(number, SIDE, SIDE)
    if turns is None:
        return image
    low, high = (SIDE - FACE_SIDE) // 2, (SIDE + FACE_SIDE) // 2
    image[low:high, low:high] = portrait(FACE_SIDE)
    return np.ascontiguousarray(np.rot90(image, turns))


def faces_shown(path: Path, quarters: Sequence[int | None]) -> list[int]:
    """Return the frames on which anything but black is in the face."""
    pictures = [frame.to_ndarray(format="gray") for frame in frames_of(path)]
    assert len(pictures) == len(quarters)
    return [n for n, (image, q) in enumerate(zip(pictures, quarters, strict=True)) if q is not None and shows(image, q)]


def shows(image: np.ndarray, turns: int) -> bool:
    x0, y0, x1, y1 = face_box()
    return bool((np.rot90(image, -turns)[y0:y1, x0:x1] > 45).mean() > 0.02)


def face_box() -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of the inner face in the upright picture."""
    low = (SIDE - FACE_SIDE) // 2
    x0, y0, x1, y1 = (low + round(part * FACE_SIDE) for part in FACE)
    return x0, y0, x1, y1


@pytest.mark.parametrize("turns", TURNS)
def test_turned_faces_are_hidden(tmp_path: Path, turns: int) -> None:
    """The detector does not find them as they are: without the search they stay bare."""
    quarters = [turns] * 12
    source, target = turned_video(tmp_path / "in.mkv", quarters), tmp_path / "out.mkv"
    assert redact(source, "-o", tmp_path / "bare.mkv", *BLACK, "--rotate-view", "0").code == 0
    assert len(faces_shown(tmp_path / "bare.mkv", quarters)) == 12
    outcome = redact(source, "-o", target, *BLACK)
    assert outcome.code == 0, outcome.err
    assert faces_shown(target, quarters) == []
    assert frames_of(target)[0].width == frames_of(source)[0].width


@pytest.mark.parametrize("turns", TURNS)
def test_the_view_that_is_named_is_analysed(tmp_path: Path, turns: int) -> None:
    quarters = [turns] * 6
    source = turned_video(tmp_path / "in.mkv", quarters)
    for view in TURNS.values():
        target = tmp_path / f"{view}.mkv"
        assert redact(source, "-o", target, *BLACK, "--rotate-view", view).code == 0
        assert bool(faces_shown(target, quarters)) == (view != TURNS[turns])


def test_the_camera_is_turned_later(tmp_path: Path) -> None:
    """Upright for three seconds, then turned; then nobody, and upright again."""
    quarters = [0] * 24 + [1] * 24 + [None] * 16 + [0] * 16
    source, target = turned_video(tmp_path / "in.mkv", quarters, rate=8), tmp_path / "out.mkv"
    outcome = redact(source, "-o", target, *BLACK)
    assert outcome.code == 0, outcome.err
    assert faces_shown(target, quarters) == []


def test_findings_are_of_the_picture_as_displayed(tmp_path: Path) -> None:
    source = turned_video(tmp_path / "in.mkv", [1] * 6)
    outcome = redact(source, "-o", tmp_path / "out.mkv", *STRICT, "--findings", "-")
    assert outcome.code == 0, outcome.err
    x0, y0, x1, y1 = face_box()
    inner = np.array([[y0, SIDE - x1, y1, SIDE - x0]]) / SIDE  # turned counter-clockwise: (x, y) -> (y, side - x)
    for record in outcome.json:
        boxes = np.array([[o[s] for s in ("x_min", "y_min", "x_max", "y_max")] for o in record["objects"]])
        assert iou(boxes.reshape(-1, 4), inner).max() > 0.4
    again = redact(source, "-o", tmp_path / "again.mkv", *BLACK, "--from-findings", "-", stdin=outcome.out)
    assert again.code == 0, again.err
    assert faces_shown(tmp_path / "again.mkv", [1] * 6) == []


@pytest.mark.parametrize("turns", TURNS)
def test_turned_photos(tmp_path: Path, turns: int) -> None:
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(picture(0, turns)).save(source)
    assert run("redact", source, "-o", tmp_path / "bare.png", *BLACK, "--rotate-view", "0").code == 0
    assert shows(np.asarray(Image.open(tmp_path / "bare.png").convert("L")), turns)
    assert run("redact", source, "-o", target, *BLACK).code == 0
    assert not shows(np.asarray(Image.open(target).convert("L")), turns)


@pytest.mark.parametrize("turns", [0, 1])
def test_other_commands_look_too(tmp_path: Path, turns: int) -> None:
    source = turned_video(tmp_path / "in.mkv", [turns] * 6)
    judged = run("moderate", source, "-p", "face", "--report-only", "--fail-on", "any", *STRICT)
    assert judged.code == 5, judged.err
    gazes = run("gaze", source, "--report-only", "--json", *STRICT)
    assert gazes.code == 0, gazes.err
    assert gazes.json[0]["attention"]["people"]
    if turns:
        judged = run(
            "moderate", source, "-p", "face", "--report-only", "--fail-on", "any", "--rotate-view", "0", *STRICT
        )
        assert judged.code == 0, judged.err


# -- how often turned views are tried


def frames(pictures: Sequence[np.ndarray], rate: int, first: int = 0) -> list[Frame]:
    return [
        Frame(av.VideoFrame.from_ndarray(each, "rgb24"), number, number, Fraction(1, rate))
        for number, each in enumerate(pictures, first)
    ]


@pytest.fixture(scope="module")
def detect() -> Callable[[Sequence[np.ndarray]], list[ImageFindings]]:
    return object_detector(engine.load("centerface"), ["face"], 0.5)


def counting(detect: Callable[[Sequence[np.ndarray]], list[ImageFindings]]) -> tuple[ViewSearch, list[int]]:
    """Return a search, and the list to which it appends the number of images of each call."""
    calls: list[int] = []

    def counted(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        calls.append(len(images))
        return detect(images)

    return ViewSearch(counted, AUTO), calls


def test_where_nobody_is_few_frames_are_analysed_again(
    detect: Callable[[Sequence[np.ndarray]], list[ImageFindings]],
) -> None:
    """A minute, in batches of a second: after 0, 2, 6, 14, 30 and 62 seconds, each in three views."""
    views, calls = counting(detect)
    for second in range(60):
        views.detect_frames(frames([picture(second, None)] * 2, 2, first=2 * second))
    assert sum(calls) - 120 == 3 * 5


def test_where_upright_faces_are_found_none_is_analysed_again(
    detect: Callable[[Sequence[np.ndarray]], list[ImageFindings]],
) -> None:
    views, calls = counting(detect)
    for second in range(8):
        views.detect_frames(frames([picture(0, 0)], 1, first=second))
    assert sum(calls) == 8
    views.detect_image(picture(0, 0))
    assert sum(calls) == 9


def test_each_stream_has_its_own_view(detect: Callable[[Sequence[np.ndarray]], list[ImageFindings]]) -> None:
    views, calls = counting(detect)
    for stream, turns in ((0, 1), (1, 0)):
        for frame in frames([picture(0, turns)] * 3, 1):
            frame.stream = stream
            assert views.detect_frames([frame])[0].regions
    assert sum(calls) == (1 + 3 + 1) + 2 * 2 + 3


def test_gaze_and_box_are_turned_back() -> None:
    seen = []

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        seen.append(images[0].shape)
        return [ImageFindings([Region(0.1, 0.2, 0.3, 0.6, "face", gaze=GazeEstimate((0.0, 0.25), True))])]

    (found,) = turned_detector(see, 90)([np.zeros((40, 60, 3), np.uint8)])
    assert seen == [(60, 40, 3)]
    (region,) = found.regions
    # A point at (u, v) of the picture turned clockwise lies at (v, 1 - u) of the picture.
    assert region.sides == pytest.approx((0.2, 0.7, 0.6, 0.9))
    assert region.gaze == GazeEstimate((0.25, 1.0), True)


def test_a_tagged_rotation_comes_first(detect: Callable[[Sequence[np.ndarray]], list[ImageFindings]]) -> None:
    """A picture that its tag turns upright needs no other view."""
    views, calls = counting(detect)
    (frame,) = frames([picture(0, 1)], 1)
    frame.orientation = Orientation(3)
    (found,) = views.detect_frames([frame])
    assert found.regions
    assert sum(calls) == 1
