"""What the program writes as data has the fields that `mdtool.records.schemas` describes, and no others."""

import json
from pathlib import Path

import pytest
from cli_runner import ROOT, Run, run_in_process
from jsonschema import Draft202012Validator

from mdtool.records.schemas import RECORDS

SAMPLES = ROOT / "sample_media"
SCENE = SAMPLES / "scenes" / "tall.png"
POCKET = ("--model", "pocket")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return run_in_process(capfd)


def check(kind: str, lines: bytes | str, count: int) -> None:
    records = [json.loads(line) for line in lines.splitlines()]
    assert len(records) == count
    for record in records:
        Draft202012Validator(RECORDS[kind]).validate(record)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_schema_is_a_schema(kind: str) -> None:
    Draft202012Validator.check_schema(RECORDS[kind])


def test_findings_and_the_run_report_of_a_redaction(run: Run, tmp_path: Path) -> None:
    found = tmp_path / "found.jsonl"
    outcome = run("redact", SAMPLES / "animation.gif", "-o", tmp_path / "out.gif", "--findings", found, "--json")
    check("run_report", outcome.out, 1)
    check("findings", found.read_text(), 20)


def test_gaze_its_findings_and_its_run_report(run: Run, tmp_path: Path) -> None:
    lines, found = tmp_path / "gaze.jsonl", tmp_path / "found.jsonl"
    files = ("--jsonl", lines, "--findings", found, "--no-video", "--json")
    outcome = run("gaze", SCENE, *POCKET, "-t", "star", *files)
    check("run_report", outcome.out, 1)
    check("gaze", lines.read_text(), 1)
    check("findings", found.read_text(), 1)
    assert '"looks_at":{"target":"star"}' in lines.read_text()


def test_gaze_by_the_direction_of_the_head(run: Run) -> None:
    outcome = run("gaze", SAMPLES / "portrait.jpg", "--model", "centerface", "--no-video", "--jsonl", "-")
    check("gaze", outcome.out, 1)


def test_verdicts(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rule]]\nname = "stars"\nprompt = "star"\naction = "flag"\n'
        '[[rule]]\nname = "rings"\nquestion = "Is there a blue ring?"\nanswer = "yes"\naction = "flag"\n'
    )
    found = tmp_path / "found.jsonl"
    outcome = run("moderate", SCENE, *POCKET, "--policy", policy, "--report-only", "--findings", found, "--json")
    check("verdict", outcome.out, 1)
    check("findings", found.read_text(), 1)
    assert [rule["hit"] for rule in outcome.json[0]["rules"]] == [True, False]


@pytest.mark.parametrize(
    "arguments",
    [
        ("caption", SCENE),
        ("query", SCENE, "--question", "How many stars are there?", "--at", "0.5,0.5", "--at", "0,0,1,1"),
        ("detect", SCENE, "star"),
        ("point", SCENE, "star"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_answers(run: Run, arguments: tuple[str | Path, ...]) -> None:
    check("answers", run(*arguments, *POCKET, "--json").out, 1)
    check("batch", run(*arguments, *POCKET, "--jsonl", "-").out, 1)


def test_an_answer_with_reasoning(run: Run) -> None:
    model = ROOT / "tests" / "golden" / "moondream2"
    outcome = run("query", SCENE, "--question", "why?", "--model", model, "--reasoning", "--max-tokens", "30", "--json")
    check("answers", outcome.out, 1)
    assert "grounding" in outcome.json[0]


def test_the_records_of_videos_of_failures_and_of_side_outputs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = run(
        "caption", tmp_path / "broken.png", SAMPLES / "blink.mp4", *POCKET, "--sample", "fps=1", "--jsonl", "-"
    )
    assert outcome.code == 1
    check("batch", outcome.out, 1 + 5 + 1)
    image = tmp_path / "one.png"
    image.write_bytes((SAMPLES / "scenes" / "one.png").read_bytes())
    check("batch", run("caption", image, *POCKET, "--jsonl", "-", "--sidecar", "txt").out, 1)


def test_the_findings_of_a_batch(run: Run) -> None:
    lines = run("detect", SAMPLES / "animation.gif", "face", "--jsonl", "-").out.splitlines()
    check("findings", b"\n".join(lines[:-1]), 20)
    check("batch", lines[-1], 1)
