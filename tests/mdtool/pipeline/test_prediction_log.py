"""A model is not asked again what it has said already, and what is kept of that survives being cut short."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.contract import EngineError
from mdtool.errors import OutputError
from mdtool.pipeline.prediction_log import PredictionLog
from mdtool.tracking.detector import ImageFindings
from recipes.regions import GazeEstimate, Region

PICTURES = [np.full((8, 12, 3), level, np.uint8) for level in range(5)]
THIRD = 1 / 3  # is not told exactly in a few digits


class Seer:
    """Says of a picture what its brightness is, and counts how often it is asked."""

    def __init__(self, fails_on: int | None = None) -> None:
        self.asked: list[int] = []
        self.fails_on = fails_on

    def detect(self, images: Sequence[np.ndarray]) -> list[ImageFindings]:
        levels = [int(image[0, 0, 0]) for image in images]
        if self.fails_on in levels:
            raise EngineError("fails")
        self.asked += levels
        return [told(level) for level in levels]


def told(level: int) -> ImageFindings:
    looks = [GazeEstimate((THIRD, 1.5), True), GazeEstimate(None, False), GazeEstimate(None, None, "head"), None]
    faces = [Region(0.1, THIRD, 0.9, 1.0, "face", score=score, gaze=look) for look in looks for score in (None, THIRD)]
    return ImageFindings(faces[: level + 1], {"Is it dark?": f"yes, {level} \n"} if level else {})


def test_what_was_said_is_said_again_to_the_last_bit(tmp_path: Path) -> None:
    first, second = Seer(), Seer()
    with PredictionLog(tmp_path / "j", "s") as journal:
        said = journal.memoize(first.detect)(PICTURES[:3])
    with PredictionLog(tmp_path / "j", "s") as journal:
        assert len(journal) == 3
        again = journal.memoize(second.detect)(list(reversed(PICTURES)))
    assert first.asked == [0, 1, 2]
    assert second.asked == [4, 3]
    assert [list(sight.regions) for sight in again[4:1:-1]] == [list(sight.regions) for sight in said]
    assert [sight.replies for sight in again] == [told(level).replies for level in (4, 3, 2, 1, 0)]


def test_the_same_picture_is_asked_about_once(tmp_path: Path) -> None:
    seer = Seer()
    with PredictionLog(tmp_path / "j", "s") as journal:
        assert journal.memoize(seer.detect)([PICTURES[1]] * 3) == [told(1)] * 3
    assert seer.asked == [1]


def test_pictures_of_the_same_bytes_but_another_shape_differ(tmp_path: Path) -> None:
    seer = Seer()
    with PredictionLog(tmp_path / "j", "s") as journal:
        journal.memoize(seer.detect)([PICTURES[1], PICTURES[1].reshape(12, 8, 3)])
    assert seer.asked == [1, 1]


@pytest.mark.parametrize("cut", [1, 10, 150])
def test_a_line_that_was_cut_short_is_asked_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    with PredictionLog(path, "s") as journal:
        journal.memoize(Seer().detect)(PICTURES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    seer = Seer()
    with PredictionLog(path, "s") as journal:
        journal.memoize(seer.detect)(PICTURES)
    assert seer.asked == [4]
    assert path.read_bytes() == whole


def test_what_was_said_under_other_settings_does_not_count(tmp_path: Path) -> None:
    seer = Seer()
    for settings in ("one", "other"):
        with PredictionLog(tmp_path / "j", settings) as journal:
            journal.memoize(seer.detect)(PICTURES[:2])
    assert seer.asked == [0, 1, 0, 1]


def test_a_file_that_has_another_name_too_is_not_written_to(tmp_path: Path) -> None:
    with PredictionLog(tmp_path / "j", "s") as journal:
        journal.memoize(Seer().detect)(PICTURES[:2])
    os.link(tmp_path / "j", tmp_path / "other")
    before = (tmp_path / "other").read_bytes()
    with PredictionLog(tmp_path / "j", "s") as journal:
        assert len(journal) == 0
        journal.memoize(Seer().detect)(PICTURES[:1])
    assert (tmp_path / "other").read_bytes() == before
    with PredictionLog(tmp_path / "j", "s") as journal:
        assert len(journal) == 1


def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    with PredictionLog(tmp_path / "j", "s") as journal:
        with pytest.raises(EngineError):
            journal.memoize(Seer(fails_on=1).detect)(PICTURES[:2])
        assert len(journal) == 0
        assert journal.memoize(Seer().detect)(PICTURES[:2]) == [told(0), told(1)]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder does not exist"):
        PredictionLog(tmp_path / "nowhere" / "j", "s")
