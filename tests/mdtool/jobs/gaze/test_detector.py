"""What a model is asked about faces, and what becomes of its answers."""

from typing import cast

import numpy as np
import pytest
from fake_gaze_model import FakeGazeModel
from make_media import portrait

import engine
from engine.contract import Box, Point
from engine.generation.verbs import VisionModel
from mdtool.jobs.gaze.detector import GazeAveraging, gaze_detector
from recipes.regions import GazeEstimate

LEFT, RIGHT = Box(0.1, 0.2, 0.3, 0.4, "person", 0.9), Box(0.7, 0.2, 0.9, 0.6, "person", 0.8)
BLANK = np.zeros((48, 64, 3), np.uint8)


def test_each_face_is_asked_about_in_its_middle_with_those_of_some_pictures_at_once() -> None:
    model = FakeGazeModel({"face": [LEFT, RIGHT]}, lambda number, eye: Point(eye[1], eye[0]))
    seen = gaze_detector(cast(VisionModel, model))([BLANK] * 6)
    assert model.asked == [8, 4]  # four pictures, then two
    assert len(seen) == 6
    for sight in seen:
        assert [one.label for one in sight.regions] == ["face", "face"]
        assert [one.score for one in sight.regions] == [0.9, 0.8]
        places = [one.gaze.target for one in sight.regions if one.gaze and one.gaze.target]
        assert np.allclose(places, [(0.3, 0.2), (0.4, 0.8)])


def test_no_answer_is_a_look_out_of_the_picture() -> None:
    model = FakeGazeModel({"face": [LEFT, RIGHT]}, lambda number, eye: Point(0.5, 0.5) if eye[0] < 0.5 else None)
    [sight] = gaze_detector(cast(VisionModel, model))([BLANK])
    assert [one.gaze for one in sight.regions] == [GazeEstimate((0.5, 0.5), True), GazeEstimate(None, False)]


def test_a_face_that_reaches_out_of_the_picture_is_asked_about_where_it_shows() -> None:
    asked: list[tuple[float, float]] = []
    model = FakeGazeModel({"face": [Box(-0.2, 0.5, 0.2, 1.5)]}, lambda number, eye: asked.append(eye))
    gaze_detector(cast(VisionModel, model))([BLANK])
    assert asked == [(0.1, 0.75)]


def test_things_are_labelled_as_they_were_asked_for_and_have_no_gaze() -> None:
    model = FakeGazeModel({"face": [LEFT], "cup": [RIGHT], "the screen": []}, lambda number, eye: None)
    [sight] = gaze_detector(cast(VisionModel, model), ["the screen", "cup"])([BLANK])
    assert [(one.label, one.gaze is None) for one in sight.regions] == [("face", False), ("cup", True)]


def test_pictures_without_a_face_are_no_matter() -> None:
    model = FakeGazeModel({}, lambda number, eye: None)
    assert [sight.regions for sight in gaze_detector(cast(VisionModel, model))([BLANK, BLANK])] == [[], []]
    assert [sight.regions for sight in gaze_detector(cast(VisionModel, model), accuracy=GazeAveraging())([BLANK])] == [
        []
    ]


def test_accurately_it_is_asked_about_the_mirrored_picture_too() -> None:
    model = FakeGazeModel({"face": [LEFT, RIGHT]}, lambda number, eye: None)
    picture = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    [sight] = gaze_detector(cast(VisionModel, model), accuracy=GazeAveraging(seed=20))([picture])
    assert [one.gaze and one.gaze.target for one in sight.regions] == [(0.1 + 0.2, 0.5), (0.7 + 0.2, 0.5)]
    assert len(model.encoded) == 2
    assert (model.encoded[1] == picture[:, ::-1]).all()


@pytest.fixture(scope="module")
def centerface() -> VisionModel:
    return engine.load("centerface")


def test_without_a_gaze_of_its_own_it_is_the_heads(centerface: VisionModel) -> None:
    """The portrait looks about into the camera; turned in perspective it looks aside."""
    face = portrait(320)
    [front, none] = gaze_detector(centerface)([face, np.full((200, 300, 3), 90, np.uint8)])
    [one] = front.regions
    assert one.label == "face"
    assert one.gaze == GazeEstimate(None, False, "head")
    assert none.regions == []


def test_the_heads_line_goes_to_the_edge_of_the_picture(centerface: VisionModel) -> None:
    class Turned:
        """Knows one face whose nose is far to the right of its middle, and one that is too small to tell."""

        name, image_batch_size, abilities = "turned", 1, centerface.abilities

        def encode(self, images: list[np.ndarray]) -> list[None]:
            return [None for _ in images]

        def detect(self, encoded: list[None], *_: object) -> list[list[Box]]:
            return [[Box(0.1, 0.1, 0.5, 0.6), Box(0.8, 0.8, 0.801, 0.801)] for _ in encoded]

        def point(self, *_: object) -> list[list[Point]]:
            raise NotImplementedError

        def landmarks(self, encoded: list[None], threshold: float | None = None) -> list[np.ndarray]:
            large = np.array([[0.2, 0.3], [0.36, 0.3], [0.37, 0.39], [0.22, 0.5], [0.35, 0.5]])
            return [np.stack([large, 0.8 + large / 500]) for _ in encoded]

    [sight] = gaze_detector(Turned())([np.zeros((200, 200, 3), np.uint8)])  # type: ignore[arg-type]
    turned, small = (one.gaze for one in sight.regions)
    assert turned
    assert (turned.in_frame, turned.method) == (True, "head")
    assert turned.target
    assert turned.target[0] == pytest.approx(1.0)
    assert small == GazeEstimate(None, None, "head")
