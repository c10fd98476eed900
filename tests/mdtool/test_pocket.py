"""What the embedded pocket model answers through the program: nothing fetched, and scenes that it never saw."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import pytest
from media_made import SAMPLES
from program import Outcome, run

from engine.pocket.exam import named

SCENES = SAMPLES / "scenes"
TRUTH: dict[str, list[dict[str, Any]]] = {
    scene["file"]: scene["things"] for scene in json.loads((SCENES / "scenes.gt.json").read_text())["scenes"]
}
CLIP = SAMPLES / "shapes.mp4"
CLIP_TRUTH: list[dict[str, Any]] = json.loads(Path(f"{CLIP}.gt.json").read_text())["frames"]
LEAK = 0.005
OVER = 1.2


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A machine that has fetched nothing and has no network."""
    return {"HF_HUB_CACHE": str(tmp_path_factory.mktemp("hub")), "HF_HUB_OFFLINE": "1"}


def told(outcome: Outcome) -> list[dict[str, Any]]:
    """The records; and that the model is told, and what it is."""
    assert outcome.code == 0, outcome.err
    assert len(outcome.lines) == 1
    assert "the model is pocket, which knows drawn scenes only, no photographs" in outcome.err
    return outcome.json


def of_kind(file: str, kind: str) -> list[dict[str, Any]]:
    return [thing for thing in TRUTH[file] if thing["kind"] == kind]


def test_a_folder_of_scenes_is_captioned(bare: dict[str, str]) -> None:
    records = told(run("caption", SCENES, "--length", "short", "--json", env=bare))
    assert {Path(record["input"]).name for record in records} == TRUTH.keys()
    right = [
        record
        for record in records
        if named(record["caption"])
        == Counter((thing["colour"], thing["kind"]) for thing in TRUTH[Path(record["input"]).name])
    ]
    assert len(right) >= 4


def test_things_are_counted(bare: dict[str, str]) -> None:
    records = told(run("query", SCENES, "-q", "How many circles are there?", "--json", env=bare))
    right = [
        record for record in records if record["answer"] == str(len(of_kind(Path(record["input"]).name, "circle")))
    ]
    assert len(right) >= 7


@pytest.mark.parametrize(("skill", "items"), [("detect", "objects"), ("point", "points")])
def test_circles_are_found(bare: dict[str, str], skill: str, items: str) -> None:
    (record,) = told(run(skill, SCENES / "alike.png", "Red circles", "--json", env=bare))
    height, width = cv2.imread(str(SCENES / "alike.png")).shape[:2]
    circles = [thing["xyxy"] for thing in of_kind("alike.png", "circle") if thing["colour"] == "red"]
    assert len(record[items]) == len(circles)
    for found in record[items]:
        if skill == "point":
            x, y = found["x"], found["y"]
        else:
            x, y = (found["x_min"] + found["x_max"]) / 2, (found["y_min"] + found["y_max"]) / 2
        assert [box for box in circles if box[0] < x * width < box[2] and box[1] < y * height < box[3]]


def test_nothing_is_found_where_nothing_is(bare: dict[str, str]) -> None:
    (record,) = told(run("detect", SCENES / "one.png", "red circle", "--json", env=bare))
    assert record["objects"] == []
