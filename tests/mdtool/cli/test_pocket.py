"""What the embedded pocket model answers through the program: nothing fetched, and scenes that it never saw."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cli_runner import Outcome, redact, run
from make_media import SAMPLES, frames_of, times_of

from engine.pocket.evaluation import named

SCENES = SAMPLES / "scenes"
TRUTH: dict[str, list[dict[str, Any]]] = {
    scene["file"]: scene["things"] for scene in json.loads((SCENES / "scenes.gt.json").read_text())["scenes"]
}
CLIP = SAMPLES / "shapes.mp4"
POCKET = ("--model", "pocket")
CLIP_TRUTH: list[dict[str, Any]] = json.loads(Path(f"{CLIP}.gt.json").read_text())["frames"]
LEAK = 0.005
OVER = 2.4  # of which the usual margin of 0.3 on each side is 1.56


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A machine that has fetched nothing and has no network."""
    return {"HF_HUB_CACHE": str(tmp_path_factory.mktemp("hub")), "HF_HUB_OFFLINE": "1"}


def told(outcome: Outcome) -> list[dict[str, Any]]:
    """The records, which pocket made; nothing is said of a model that was named."""
    assert (outcome.code, outcome.err) == (0, "")
    assert {record["model"] for record in outcome.json} == {"pocket"}
    return outcome.json


def of_kind(file: str, kind: str) -> list[dict[str, Any]]:
    return [thing for thing in TRUTH[file] if thing["kind"] == kind]


def test_a_folder_of_scenes_is_captioned(bare: dict[str, str]) -> None:
    records = told(run("caption", SCENES, "--length", "short", *POCKET, "--json", env=bare))
    assert {Path(record["input"]).name for record in records} == TRUTH.keys()
    right = [
        record
        for record in records
        if named(record["caption"])
        == Counter((thing["colour"], thing["kind"]) for thing in TRUTH[Path(record["input"]).name])
    ]
    assert len(right) >= 5


@pytest.mark.parametrize("question", ["How many circles are there?", "有几个圆形？"])
def test_things_are_counted(bare: dict[str, str], question: str) -> None:
    records = told(run("query", SCENES, question, *POCKET, "--json", env=bare))
    right = [
        record for record in records if record["answer"] == str(len(of_kind(Path(record["input"]).name, "circle")))
    ]
    assert len(right) >= 7


def test_what_a_sign_says(bare: dict[str, str]) -> None:
    (record,) = told(run("query", SCENES / "sign.png", "What does the sign say?", *POCKET, "--json", env=bare))
    assert record["answer"] == of_kind("sign.png", "sign")[0]["digits"]


@pytest.mark.parametrize(("skill", "items"), [("detect", "objects"), ("point", "points")])
def test_circles_are_found(bare: dict[str, str], skill: str, items: str) -> None:
    (record,) = told(run(skill, SCENES / "alike.png", "Red circles", *POCKET, "--json", env=bare))
    pixels = cv2.imread(str(SCENES / "alike.png"))
    assert pixels is not None
    height, width = pixels.shape[:2]
    circles = [thing["xyxy"] for thing in of_kind("alike.png", "circle") if thing["colour"] == "red"]
    assert len(record[items]) == len(circles)
    for found in record[items]:
        if skill == "point":
            x, y = found["x"], found["y"]
        else:
            x, y = (found["x_min"] + found["x_max"]) / 2, (found["y_min"] + found["y_max"]) / 2
        assert [box for box in circles if box[0] < x * width < box[2] and box[1] < y * height < box[3]]


def test_nothing_is_found_where_nothing_is(bare: dict[str, str]) -> None:
    (record,) = told(run("detect", SCENES / "one.png", "red circle", *POCKET, "--json", env=bare))
    assert record["objects"] == []


def test_little_of_the_red_circle_shows(bare: dict[str, str]) -> None:
    outcome = run("eval", "redact", CLIP, "--prompt", "red circle", *POCKET, "--json", env=bare)
    assert outcome.code == 0, outcome.err
    (found,) = outcome.json
    assert found["frames"] == len(CLIP_TRUTH)
    assert found["leak"] <= LEAK
    assert found["over_redaction"] <= OVER


def test_the_red_circle_is_hidden_and_nothing_else(bare: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    style = ("--style", "solid", "--color", "#ff00ff", "--crf", "12")
    outcome = redact(CLIP, "--prompt", "red circle", *POCKET, "-o", target, *style, env=bare)
    assert outcome.code == 0, outcome.err
    assert times_of(target) == times_of(CLIP)
    hidden = kept = 0
    for before, after, truth in zip(frames_of(CLIP), frames_of(target), CLIP_TRUTH, strict=True):
        one, other = (frame.to_ndarray(format="rgb24").astype(int) for frame in (before, after))
        for box in truth["boxes"]:
            x0, y0, x1, y1 = (round(edge) for edge in box["xyxy"])
            if x1 - x0 < 12 or y1 - y0 < 12:
                continue
            inner = np.s_[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4]
            if box["label"] == "red circle":
                red, green, blue = np.moveaxis(other[inner], -1, 0)
                assert ((red > 180) & (green < 80) & (blue > 180)).mean() >= 0.95, truth["index"]
                hidden += 1
            else:
                assert np.abs(one[inner] - other[inner]).mean() < 8, (truth["index"], box["label"])
                kept += 1
    assert hidden >= 95
    assert kept >= 700
