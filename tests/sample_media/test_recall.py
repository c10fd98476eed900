"""The measurement of recall counts what is found and what is hidden."""

import sys
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest

import engine
from mdtool.tracking.detector import object_detector
from recipes.regions import Region

FOLDER = Path(__file__).parents[2] / "sample_media"


@pytest.fixture(scope="module")
def recall() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        import recall as module
    finally:
        sys.path.remove(str(FOLDER))
    return module


def test_large_faces_are_hidden_and_tiny_ones_are_not(recall: ModuleType) -> None:
    detect = object_detector(engine.load("centerface"), ["face"])
    assert recall.share(islice(recall.drawn(width=48), 3), detect) == "100%"
    assert recall.share(islice(recall.drawn(width=5), 3), detect) == "0%"


def test_a_mask_that_is_too_small_is_found_but_not_hidden(recall: ModuleType) -> None:
    image = next(recall.drawn(width=60))
    (x0, y0, x1, y1), (width, height) = image.faces[0], recall.SIZE
    exact = Region(x0 / width, y0 / height, x1 / width, y1 / height, "face")
    half = exact.at((x0 / width, y0 / height, x1 / width, (y0 + y1) / 2 / height))
    count = recall.Count()
    count.add(image, [exact])
    assert str(count) == "100%"
    count.add(image, [half], margin=0.1)
    count.add(image, [])
    assert (count.faces, count.found, count.hidden) == (3, 2, 1)
    assert str(count) == "33% (found: 67%)"
    assert recall.elsewhere(image, [exact]) == []
    assert recall.elsewhere(image, [exact.at((0, 0, 0.1, 0.1))]) == [exact.at((0, 0, 0.1, 0.1))]


def test_boxes_of_a_clip_are_those_of_its_ground_truth(recall: ModuleType) -> None:
    images = list(recall.of_clip(FOLDER / "busy.mp4", 50))
    assert [len(image.faces) for image in images] == [4, 5, 5]
