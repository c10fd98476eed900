"""What the embedded pocket model answers through the program: nothing fetched, and scenes that it never saw."""

import json
from typing import Any

import pytest
from media_made import SAMPLES
from program import Outcome, run

SCENES = SAMPLES / "scenes"
TRUTH: dict[str, Any] = json.loads((SCENES / "scenes.gt.json").read_text())
CLIP = SAMPLES / "shapes.mp4"
LEAK = 0.005
OVER = 1.2


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A machine that has fetched nothing and has no network."""
    return {"HF_HUB_CACHE": str(tmp_path_factory.mktemp("hub")), "HF_HUB_OFFLINE": "1"}


def told(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.lines if "pocket" in line and "no photographs" in line]
    return outcome.json


def test_it_captions_a_folder(bare: dict[str, str]) -> None:
    records = told(run("caption", SCENES, "--length", "short", "--json", env=bare))
    assert len(records) == len(TRUTH["scenes"])


def test_red_circles_are_hidden_and_nothing_else(bare: dict[str, str]) -> None:
    outcome = run("eval", "redact", CLIP, "--prompt", "red circle", "--json", env=bare)
    assert outcome.code == 0, outcome.err
    (found,) = outcome.json
    assert found["frames"] == 150
    assert found["leak"] <= LEAK
    assert found["over_redaction"] <= OVER
