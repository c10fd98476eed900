"""Pixels far from square squeeze what a model is shown; what is there is found all the same."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from cli_runner import FAST_ENCODING, redact, run
from make_media import frames_of, is_face_visible, make_video

from mdtool.media.image.display_matrix import Orientation
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.tracking.detector import ImageFindings
from mdtool.tracking.pixel_aspect import detect_both_aspects
from recipes.regions import GazeEstimate, Region

SIZE = (320, 240)
SHAPES = [(1, 64), (1, 17), (1, 3), (2, 5), (5, 2), (3, 1), (17, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}to{shape[1]}")
def test_a_face_is_hidden_whatever_the_shape_of_the_pixels(tmp_path: Path, shape: tuple[int, int]) -> None:
    clip = make_video(tmp_path / "in.mp4", face=True, size=SIZE, sample_aspect_ratio=Fraction(*shape))
    with av.open(str(clip)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(*shape)
    target = tmp_path / "out.mp4"
    outcome = redact(clip, "-o", target, "--style", "solid", *FAST_ENCODING)
    assert outcome.code == 0, outcome.err
    frames = frames_of(target)
    assert len(frames) == 12
    assert not any(is_face_visible(frame) for frame in frames)


def test_a_rule_is_hit_whatever_the_shape_of_the_pixels(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "in.mp4", face=True, size=SIZE, sample_aspect_ratio=Fraction(1, 17))
    outcome = run("moderate", clip, "-p", "face", "--report-only", "--fail-on", "any")
    assert outcome.code == 5, outcome.err


# -- which shapes are seen, and what becomes of what is seen in both


def frame(aspect: Fraction, orientation: Orientation | None = None) -> Frame:
    picture = av.VideoFrame.from_ndarray(np.zeros((90, 160, 3), np.uint8), "rgb24")
    return Frame(picture, 0, 0, Fraction(1, 30), aspect=aspect, orientation=orientation or Orientation())


@pytest.mark.parametrize("aspect", [(1, 1), (10, 11), (16, 11), (4, 3), (64, 45), (3, 4)])
def test_usual_pixels_are_seen_as_displayed_only(aspect: tuple[int, int]) -> None:
    shapes: list[tuple[int, ...]] = []

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        shapes.extend(image.shape for image in images)
        return [ImageFindings() for _ in images]

    detect_both_aspects(see, [frame(Fraction(*aspect))] * 2)
    assert shapes == [(90, round(160 * Fraction(*aspect)), 3)] * 2


def test_stretched_pixels_are_seen_upright_in_both_shapes() -> None:
    shapes: list[tuple[int, ...]] = []

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        shapes.extend(image.shape for image in images)
        return [ImageFindings() for _ in images]

    detect_both_aspects(see, [frame(Fraction(1, 4), Orientation(1)), frame(Fraction(1)), frame(Fraction(1, 2))])
    assert shapes == [(40, 90, 3), (90, 160, 3), (90, 80, 3), (160, 90, 3), (90, 160, 3)]


def test_what_is_seen_in_both_shapes_becomes_one() -> None:
    """Displayed, the picture is 40 wide."""
    gaze = GazeEstimate((0.5, 0.5), True)
    shown = [Region(0.1, 0.1, 0.3, 0.3, "face", score=0.4), Region(0.6, 0.6, 0.8, 0.8, "dog")]
    stored = [
        Region(0.12, 0.08, 0.32, 0.28, "face", score=0.9, gaze=gaze),
        Region(0.6, 0.6, 0.8, 0.8, "cat"),
        Region(0.5, 0.1, 0.7, 0.3, "face", score=0.5),
    ]

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        return [
            ImageFindings(shown, {"is it dark?": "yes"})
            if image.shape[1] == 40
            else ImageFindings(stored, {"is it dark?": "no"})
            for image in images
        ]

    (sight,) = detect_both_aspects(see, [frame(Fraction(1, 4))])
    assert sight.replies == {"is it dark?": "yes"}
    assert sight.regions == [
        Region(0.1, 0.08, 0.32, 0.3, "face", score=0.9, gaze=gaze),
        Region(0.5, 0.1, 0.7, 0.3, "face", score=0.5),
        Region(0.6, 0.6, 0.8, 0.8, "dog"),
        Region(0.6, 0.6, 0.8, 0.8, "cat"),
    ]


# -- ratios that are said by the codec alone, or beyond all reason


def test_a_ratio_that_only_the_codec_states(tmp_path: Path) -> None:
    """Some players follow the container, which says 1:1, and some the codec."""
    clip = make_video(tmp_path / "in.mp4", face=True, size=SIZE, sample_aspect_ratio=Fraction(1, 3))
    data = clip.read_bytes()
    at = data.index(b"pasp")
    clip.write_bytes(data[: at + 4] + struct.pack(">II", 1, 1) + data[at + 12 :])
    with av.open(str(clip)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 1
    with VideoReader(clip) as reader:
        assert {event.aspect for event in reader if isinstance(event, Frame)} == {Fraction(1, 3)}


@pytest.mark.parametrize("aspect", [(1, 10_000), (10_000, 1), (2**31 - 1, 1), (100, 1)])
def test_a_ratio_beyond_all_reason_takes_no_memory(aspect: tuple[int, int]) -> None:
    displayed = frame(Fraction(*aspect)).rgb()
    assert 3 <= displayed.nbytes < 3_000_000
    assert displayed.shape[1] <= 8192


def test_an_unusual_ratio_is_told(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "in.mp4", 3, size=SIZE, sample_aspect_ratio=Fraction(1, 17))
    outcome = redact(clip, "-o", tmp_path / "out.mp4", *FAST_ENCODING)
    assert "its pixels are said to have sides of 1:17, which is unusual" in outcome.err
