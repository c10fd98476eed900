"""Commands on a Qwen3-VL that gives the same answer to everything, and on the golden one, whose answers are noise."""

import json
from pathlib import Path

import numpy as np
import pytest
from answering_qwen import write_answering
from cli_runner import run
from golden_qwen import FOLDER
from make_media import SAMPLES
from PIL import Image

A, B = FOLDER / "image_a.png", FOLDER / "image_b.png"
REDUCED = (
    "mdtool: on a CPU, images are reduced to 1024 pixels for answers; --detail high or --max-image-tokens shows more"
)
BOX = '[{"bbox_2d": [250, 500, 500, 1000], "label": "thing"}]\n```'


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_answering(tmp_path_factory.mktemp("boxes"), [BOX])


def test_a_caption_and_answers() -> None:
    outcome = run("caption", A, B, "--model", FOLDER, "--max-tokens", "6", "--temperature", "0", "--length", "short")
    assert (outcome.code, outcome.lines) == (0, [REDUCED])
    assert len(outcome.out.splitlines()) == 2
    outcome = run("query", A, "这是什么?", "--model", FOLDER, "--choices", "the fox,the dog")
    assert outcome.out.decode().strip() in ("the fox", "the dog")


def test_detected_boxes_are_fractions_of_the_image(boxes: Path) -> None:
    outcome = run("detect", A, "face", "--model", boxes, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    [answer] = outcome.json
    assert answer["objects"] == [{"label": "face", "x_min": 0.25, "y_min": 0.5, "x_max": 0.5, "y_max": 1.0}]


def test_redaction_masks_what_the_answer_lists(boxes: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    outcome = run("redact", A, "--prompt", "face", "--model", boxes, "--style", "solid", "-o", target)
    assert outcome.code == 0, outcome.err
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (A, target))
    changed = (before != after).any(2)
    assert changed[40:60, 30:44].all()
    assert not changed[:20].any()


def test_moderation_runs_on_it(boxes: Path) -> None:
    outcome = run("moderate", A, "-p", "face", "--report-only", "--fail-on", "any", "--model", boxes)
    assert outcome.code == 5, outcome.err


def test_an_answer_that_is_no_list_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    outcome = run("redact", A, "--prompt", "face", "--model", FOLDER, "-o", target)
    assert outcome.code == 1
    assert "the model did not answer with a list of objects" in outcome.err
    assert not target.exists()
    outcome = run("detect", A, B, "face", "--model", FOLDER)
    assert outcome.code == 1
    assert len(outcome.lines) == 2


def test_a_batch_of_records(tmp_path: Path, boxes: Path) -> None:
    records = tmp_path / "out.jsonl"
    outcome = run("detect", A, B, "face", "--model", boxes, "--jsonl", records)
    assert outcome.code == 0, outcome.err
    assert records.read_text().count('"x_min": 0.25') == 2 or records.read_text().count('"x_min":0.25') == 2


@pytest.mark.parametrize(("option", "code"), [(("--threshold", "0.5"), 2), (("--adapter", "missing"), 4)])
def test_options_that_cannot_be_honoured_are_refused(option: tuple[str, str], code: int, boxes: Path) -> None:
    outcome = run("detect", A, "face", "--model", boxes, *option)
    assert outcome.code == code
    assert len(outcome.lines) == 1


def test_quantised_weights_are_written_and_run(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    assert run("models", "quantize", FOLDER, "--scheme", "int8", "-o", folder).code == 0
    outcome = run("query", A, "what?", "--model", folder, "--max-tokens", "4", "--max-image-tokens", "40")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_system_message_changes_the_answer() -> None:
    plain = run("query", A, "what?", "--model", FOLDER, "--max-tokens", "8", "--temperature", "0", "-q", "--json")
    told = run(
        "query", A, "what?", "--model", FOLDER, "--max-tokens", "8", "--temperature", "0", "-q", "--json",
        "--system", "You measure.",
    )  # fmt: skip
    assert plain.code == told.code == 0
    assert plain.json[0]["answer"] != told.json[0]["answer"]


def test_a_model_without_system_messages_refuses_one_before_any_image() -> None:
    outcome = run("query", A, B, "what?", "--model", "pocket", "--system", "You measure.")
    assert outcome.code == 2
    assert outcome.lines == ["mdtool: pocket takes no system message: leave it out"]


def test_gaze_takes_faces_from_the_embedded_model_and_targets_from_this_one(boxes: Path, tmp_path: Path) -> None:
    findings = tmp_path / "findings.jsonl"
    portrait = SAMPLES / "portrait.jpg"
    outcome = run("gaze", portrait, "-t", "cup", "--model", boxes, "--report-only", "--findings", findings)
    assert outcome.code == 0, outcome.err
    assert "centerface estimates the direction of the head" in outcome.err
    [frame] = [json.loads(line) for line in findings.read_text().splitlines() if '"objects"' in line]
    found = {item["label"]: item for item in frame["objects"]}
    assert found.keys() == {"face", "cup"}
    assert found["cup"]["x_min"] == 0.25
    assert found["face"]["score"] > 0.5


def test_an_accurate_gaze_needs_a_model_with_that_skill(boxes: Path) -> None:
    outcome = run("gaze", SAMPLES / "portrait.jpg", "--accurate", "--model", boxes, "--report-only")
    assert outcome.code == 2
    assert "can't gaze" in outcome.err
