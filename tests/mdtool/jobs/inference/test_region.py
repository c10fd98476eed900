"""A model that sees a region of each image: what it gets, and where its results lie."""

from pathlib import Path

import numpy as np
import pytest
from cli_runner import run
from make_media import SAMPLES

import engine
from engine.contract import Box, CaptionRequest, Done, Point
from mdtool.jobs.inference.region import ENLARGED_SIDE, RegionModel, enlarged, in_whole
from recipes.regions import PictureArea, parse_region

PORTRAIT = SAMPLES / "portrait.jpg"
MANY = SAMPLES / "scenes" / "many.png"


def test_a_region_is_cut_out_and_enlarged() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[50:, 100:] = 255
    crop = enlarged(image, PictureArea(0.5, 0.5, 1, 1))
    assert crop.shape == (ENLARGED_SIDE // 2, ENLARGED_SIDE, 3)
    assert (crop[40:, 40:] == 255).all()
    assert (enlarged(image, PictureArea(0, 0, 0.5, 0.5))[:480, :960] == 0).all()


def test_a_large_region_keeps_its_size_and_a_thin_one_has_a_pixel() -> None:
    image = np.zeros((2000, 3000, 3), np.uint8)
    assert enlarged(image, PictureArea(0, 0, 0.5, 0.5)).shape == (1000, 1500, 3)
    assert enlarged(image, PictureArea(0, 0, 1, 1e-6)).shape == (1, 3000, 3)


def test_objects_are_in_coordinates_of_the_whole() -> None:
    area = PictureArea(0.5, 0.25, 1.0, 0.75)
    assert in_whole(Point(0.5, 0.5, "eye"), area) == Point(0.75, 0.5, "eye")
    assert in_whole(Box(0, 0, 1, 0.5, "face", 0.9), area) == Box(0.5, 0.25, 1.0, 0.5, "face", 0.9)


@pytest.mark.parametrize("text", ["0.25,0.1,0.75,0.9", "160,50,480,450"])
def test_a_face_is_found_where_it_is(text: str) -> None:
    pixels = engine_image(PORTRAIT)
    whole = engine.load("centerface")
    [[face]] = whole.detect(whole.encode([pixels]), "face")
    area = parse_region(text)
    model = RegionModel(whole, area)
    [found] = model.detect(model.encode([pixels]), "face")
    best = max(found, key=lambda box: box.score or 0)
    for side in ("x_min", "y_min", "x_max", "y_max"):
        assert getattr(best, side) == pytest.approx(getattr(face, side), abs=0.06)


def engine_image(path: Path) -> np.ndarray:
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def test_a_region_outside_of_an_image_is_its_error() -> None:
    outcome = run("detect", PORTRAIT, "face", "--region", "90000,0,90001,1")
    assert outcome.code == 1
    assert "lies outside of an image" in outcome.err
    outcome = run("detect", PORTRAIT, "face", "--region", "1,2,3")
    assert outcome.code == 2
    assert outcome.err.startswith("mdtool: --region: a region is four numbers")


def test_texts_are_about_the_region() -> None:
    model = RegionModel(engine.load("pocket"), PictureArea(0, 0, 0.5, 1))
    pixels = engine_image(MANY)
    [left] = model.encode([pixels])
    [event] = [event for event in model.run([CaptionRequest(left)]) if isinstance(event, Done)]
    whole = engine.load("pocket")
    assert event.result != whole.results([CaptionRequest(whole.encode([pixels])[0])])[0]


def test_records_of_another_region_are_made_anew(tmp_path: Path) -> None:
    records = tmp_path / "faces.jsonl"
    command = ("detect", PORTRAIT, "face", "--jsonl", records)
    for region in ("0,0,1,1", "0,0,1,1", "0,0,0.9,0.9"):
        assert run(*command, "--region", region).code == 0
    assert len(records.read_text().splitlines()) == 2


def test_a_point_of_a_question_is_of_the_whole_image() -> None:
    outcome = run("query", MANY, "what?", "--region", "0,0,1,0.5", "--at", "0.5,0.5", "--model", "pocket")
    assert outcome.code == 2
    assert "--region" in outcome.err
