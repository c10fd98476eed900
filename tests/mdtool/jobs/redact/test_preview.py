"""`redact --preview`: one picture of what would be masked, and nothing else."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import FAST_ENCODING, Outcome, run
from jsonschema import Draft202012Validator
from make_media import SAMPLES, make_video
from PIL import Image

from mdtool.jobs.redact.preview import preview_path, spread
from mdtool.media.sources.inputs import Input, find_inputs
from mdtool.pipeline.targets import Targets, is_many
from mdtool.records.schemas import RECORDS

GROUP, BUSY = SAMPLES / "group.png", SAMPLES / "busy.mp4"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def preview(*arguments: str | Path, **how: Any) -> Outcome:
    return run("redact", "--preview", "--json", *arguments, **how)


def frames(outcome: Outcome) -> list[dict[str, Any]]:
    (record,) = outcome.json
    Draft202012Validator(RECORDS["preview"]).validate(record)
    shown: list[dict[str, Any]] = record["frames"]
    return shown


def test_nine_frames_of_a_video_and_nothing_else(here: Path) -> None:
    outcome = preview(BUSY, "-o", "out.mp4", "--findings", "found.jsonl")
    assert (outcome.code, outcome.err) == (0, "")
    assert [path.name for path in here.iterdir()] == ["out.preview.jpg"]
    shown = frames(outcome)
    times = [frame["time"] for frame in shown]
    assert len(times) == 9
    assert times == sorted(times)
    assert times[0] < 1
    assert times[-1] > 4
    assert all(4 <= frame["masked"] <= 5 and frame["visible"] == 0 for frame in shown)
    with Image.open("out.preview.jpg") as sheet:
        assert sheet.width > 1800


def test_it_says_where_the_picture_is(here: Path) -> None:
    outcome = run("redact", "--preview", GROUP, "-o", "out.png")
    assert outcome.out == b""
    assert outcome.lines[0].startswith("out.preview.jpg: 1 frame by centerface, 4 objects masked, ")
    assert len(outcome.lines) == 1


def test_the_picture_shows_masks_and_boxes(here: Path) -> None:
    assert preview(GROUP, "-o", "out.png", "--style", "solid", "--color", "#ff00ff").code == 0
    with Image.open("out.preview.jpg") as sheet:
        pixels = np.asarray(sheet).astype(int)
    magenta = (abs(pixels - (255, 0, 255)) < 40).all(axis=2)
    assert 0.01 < magenta.mean() < 0.2


@pytest.mark.parametrize(
    ("options", "masked", "visible"),
    [
        (["--keep", "0,0,0.5,1"], 2, 2),
        (["--only", "0.5,0,1,1"], 2, 2),
        (["--min-size", "60"], 2, 2),
        (["--threshold", "0.9"], 2, 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_stays_visible_is_counted(here: Path, options: list[str], masked: int, visible: int) -> None:
    (frame,) = frames(preview(GROUP, "-o", "out.png", *options))
    assert (frame["masked"], frame["visible"]) == (masked, visible)


def test_recorded_findings(here: Path) -> None:
    clip = make_video(here / "v.mp4", 24, face=True, rate=12, size=(160, 128))
    assert run("redact", clip, "--findings", "found.jsonl", *FAST_ENCODING).code == 0
    before = {path.name for path in here.iterdir()}
    shown = frames(preview(clip, "--from-findings", "found.jsonl"))
    assert len(shown) == 9
    assert all(frame["masked"] == 1 for frame in shown)
    assert {path.name for path in here.iterdir()} - before == {"v.preview.jpg"}
    piped = preview(clip, "--from-findings", "-", "--drop-track", "1", "-f", stdin=(here / "found.jsonl").read_bytes())
    assert all((frame["masked"], frame["visible"]) == (0, 1) for frame in frames(piped))
    wrong = preview(clip, "--from-findings", "found.jsonl", "--drop-track", "5", "-o", "other.mp4")
    assert (wrong.code, (here / "other.preview.jpg").exists()) == (2, False)


def test_findings_of_other_content_are_shown_only_when_forced(here: Path) -> None:
    clip = make_video(here / "v.mp4", 12, face=True, rate=12, size=(160, 128))
    assert run("redact", clip, "--findings", "found.jsonl", *FAST_ENCODING).code == 0
    make_video(here / "v.mp4", 12, face=True, rate=12, size=(160, 128), options={"movflags": "faststart"})
    refused = preview(clip, "--from-findings", "found.jsonl")
    assert (refused.code, (here / "v.preview.jpg").exists()) == (1, False)
    outcome = preview(clip, "--from-findings", "found.jsonl", "--force-findings")
    assert outcome.code == 0
    assert len(outcome.lines) == 1  # says that it is not checked


def test_frames_that_could_not_be_judged_are_shown_masked(here: Path) -> None:
    clip = make_video(here / "v.mp4", 12, face=True, rate=12, size=(160, 128))
    assert run("redact", clip, "--findings", "found.jsonl", *FAST_ENCODING).code == 0
    lines = (here / "found.jsonl").read_text().replace('"hidden":false', '"hidden":true')
    (here / "found.jsonl").write_text(lines)
    assert all(frame["hidden"] for frame in frames(preview(clip, "--from-findings", "found.jsonl")))


def test_another_object_than_faces(here: Path) -> None:
    outcome = preview(SAMPLES / "scenes" / "one.png", "--model", "pocket", "-p", "face", "-o", "out.png")
    assert outcome.code == 0, outcome.err


def test_only_the_time_range_is_shown(here: Path) -> None:
    shown = frames(preview(BUSY, "-o", "out.mp4", "--from", "1", "--to", "2"))
    assert all(1 <= frame["time"] < 2 for frame in shown)
    outcome = preview(BUSY, "-o", "out.mp4", "--from", "100", "-f")
    assert outcome.code == 1
    assert "has no frame to show; the time range" in outcome.err


def test_an_animation(here: Path) -> None:
    shown = frames(preview(SAMPLES / "animation.gif", "-o", "out.gif"))
    assert len(shown) == 9
    assert all(frame["masked"] == 1 for frame in shown)


def test_stdin_and_stdout(here: Path) -> None:
    outcome = run("redact", "-", "-o", "-", "--preview", stdin=GROUP.read_bytes())
    assert outcome.code == 0, outcome.err
    assert Image.open(io.BytesIO(outcome.out)).format == "JPEG"
    clip = make_video(here / "v.mkv", 24, face=True, rate=12, size=(160, 128))
    assert len(frames(preview("-", "-o", "out.mkv", stdin=clip.read_bytes()))) == 9


def test_several_inputs_share_the_picture(here: Path) -> None:
    broken = here / "broken.mp4"
    broken.write_bytes(b"this is no video")
    outcome = preview(BUSY, GROUP, broken, "-o", "out")
    assert outcome.code == 1
    assert outcome.lines[0].startswith(f"mdtool: {broken}: ")
    assert [Path(frame["source"]).name for frame in frames(outcome)] == ["busy.mp4"] * 3 + ["group.png"]
    assert (here / "out.preview.jpg").exists()
    assert not (here / "out").exists()


def test_of_many_inputs_nine_are_shown(here: Path) -> None:
    (here / "photos").mkdir()
    for number in range(20):
        (here / "photos" / f"{number:02}.png").write_bytes(GROUP.read_bytes())
    outcome = preview("photos")
    assert outcome.lines == ["mdtool: 9 of 20 inputs are shown"]
    assert len(frames(outcome)) == 9
    assert (here / "photos" / "photos.preview.jpg").exists()
    assert len(find_inputs(["photos"])) == 20  # the preview is no input of the run that follows


def test_a_file_that_exists_is_not_replaced_unawares(here: Path) -> None:
    (here / "out.preview.jpg").write_bytes(b"mine")
    outcome = preview(GROUP, "-o", "out.png")
    assert outcome.code == 74
    assert outcome.lines == ["mdtool: out.preview.jpg: exists already; --overwrite replaces it"]
    assert (here / "out.preview.jpg").read_bytes() == b"mine"
    assert preview(GROUP, "-o", "out.png", "--overwrite").code == 0
    (here / "in.jpg").write_bytes((SAMPLES / "portrait.jpg").read_bytes())
    for inputs in (["in.jpg", BUSY], ["in.jpg"]):
        over = preview(*inputs, "-o", "in.jpg", "--overwrite")
        assert (over.code, "would replace an input" in over.err) == (2, True)


def test_a_preview_is_no_dry_run(here: Path) -> None:
    outcome = preview(GROUP, "--dry-run")
    assert (outcome.code, len(outcome.lines)) == (2, 1)


def test_a_frame_on_which_the_model_fails_ends_it(here: Path) -> None:
    found = here / "found.jsonl"
    found.write_text(json.dumps({"schema": "other"}) + "\n")
    outcome = preview(GROUP, "-o", "out.png", "--from-findings", found)
    assert outcome.code == 1
    assert not (here / "out.preview.jpg").exists()


@pytest.mark.parametrize(
    ("named", "output", "expected"),
    [
        (["a/in.mp4"], None, "a/in.preview.jpg"),
        (["a/in.mp4"], "b/out.mkv", "b/out.preview.jpg"),
        (["a/in.mp4"], "b/out.redacted.mkv", "b/out.redacted.preview.jpg"),
        (["a/in.mp4"], "sheet.png", "sheet.png"),
        (["a/in.jpg"], "out.jpg", "out.jpg"),
        (["a/in.png"], "out.png", "out.preview.jpg"),
        (["a/in.mp4"], "-", None),
        (["a/in.mp4", "a/b.jpg"], None, "a/a.preview.jpg"),
        (["a/in.mp4", "a/b.jpg"], "out/", "out.preview.jpg"),
        (["a/in.mp4", "a/b.jpg"], "sheet.jpg", "sheet.jpg"),
    ],
)
def test_its_name(here: Path, named: list[str], output: str | None, expected: str | None) -> None:
    sources = [Input(Path(name), Path(Path(name).name), name) for name in named]
    targets = Targets(output, ".redacted", is_many(sources, named))
    assert preview_path(sources, targets) == (None if expected is None else Path(expected))


def test_inputs_are_spread() -> None:
    sources = [Input(Path(f"{number}"), Path(f"{number}")) for number in range(100)]
    shown = [int(source.name) for source in spread(sources, 9)]
    assert shown == [5, 16, 27, 38, 50, 61, 72, 83, 94]
    assert spread(sources[:3], 9) == sources[:3]
