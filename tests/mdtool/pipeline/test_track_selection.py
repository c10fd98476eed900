"""Tracks, labels and prompts that a person picks among recorded findings."""

from pathlib import Path

import numpy as np
import pytest
from cli_runner import Outcome, run
from make_findings import findings_jsonl, region
from make_media import make_video
from PIL import Image

from mdtool.pipeline.track_selection import Track, parse_track
from mdtool.records.findings import FrameFindings

LEFT, RIGHT = region(0.1, 0.2, 0.3, 0.6, track=1), region(0.7, 0.2, 0.9, 0.6, "License  Plate", 2)
MIDDLE = region(0.45, 0.3, 0.55, 0.6, track=3)
SIZE = (320, 240)
GREY = 120


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a photo and findings of it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((SIZE[1], SIZE[0], 3), GREY, np.uint8)).save("a.png")
    write(tmp_path / "f.jsonl", "a.png")
    return tmp_path


def write(path: Path, *sources: str, findings: FrameFindings | None = None, stream: int = 0) -> Path:
    findings = findings or FrameFindings([LEFT, RIGHT, MIDDLE], analysed=True)
    prompts = ("face", "license plate")
    lines = [findings_jsonl(source, [findings], SIZE, still=True, prompts=prompts, stream=stream) for source in sources]
    path.write_text("".join(lines))
    return path


def redact(*arguments: str | Path, findings: str = "f.jsonl") -> Outcome:
    return run("redact", "a.png", "-o", "out.png", "--from-findings", findings, "--style", "solid", *arguments)


def hidden(target: str = "out.png") -> set[str]:
    """Which of the three objects are hidden."""
    with Image.open(target) as image:
        pixels = np.asarray(image.convert("RGB"))
    places = {"left": (96, 64), "right": (96, 256), "middle": (108, 160)}
    return {name for name, at in places.items() if pixels[at].max() < GREY // 2}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--drop-track", "1"], {"right", "middle"}),
        (["--drop-track", "1", "--drop-track", "0:3"], {"right"}),
        (["--keep-track", "3"], {"middle"}),
        (["--keep-track", "1", "--keep-track", "2"], {"left", "right"}),
        (["--label", "license plate"], {"right"}),
        (["--label", "FACE", "--drop-track", "3"], {"left"}),
        (["--prompt", "face"], {"left", "middle"}),
        (["--prompt", "license  PLATE"], {"right"}),
        (["--prompt", "face", "-p", "license plate"], {"left", "right", "middle"}),
        ([], {"left", "right", "middle"}),
    ],
    ids=" ".join,
)
def test_only_what_is_selected_is_hidden(here: Path, options: list[str], left: set[str]) -> None:
    outcome = redact(*options)
    assert outcome.code == 0, outcome.err
    assert hidden() == left


def test_what_is_left_out_is_said(here: Path) -> None:
    assert redact("--drop-track", "2").lines[0] == "mdtool: 1 of 3 tracks is left out: 2 (License  Plate)"
    assert "mdtool: 2 of 3 tracks are left out: 2 (License  Plate), 3 (face)" in redact("--keep-track", "1", "-f").lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--drop-track", "4"],
            "--drop-track 4: there is no such track; the findings have 1 (face), 2 (License  Plate), 3 (face)",
        ),
        (["--keep-track", "1:1"], "--keep-track 1:1: there is no such track; the findings have 1 (face)"),
        (["--drop-track", "one"], "--drop-track: 'one' is not a track"),
        (["--drop-track", "1", "--keep-track", "0:1"], "--drop-track 1: is also given with --keep-track"),
        (["--label", "fase"], "--label fase: nothing has this label; the findings have License  Plate, face"),
        (["--prompt", "dog"], "--prompt dog: the findings of a.png are of face, license plate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_in_the_findings_is_an_error(here: Path, options: list[str], message: str) -> None:
    outcome = redact(*options)
    assert outcome.code == 2
    assert outcome.lines[0].startswith(f"mdtool: {message}")
    assert len(outcome.lines) == 1
    assert not (here / "out.png").exists()


@pytest.mark.parametrize("option", ["--drop-track", "--keep-track", "--label"])
@pytest.mark.parametrize("command", [["redact"], ["moderate", "-p", "face"]], ids=lambda words: words[0])
def test_without_findings_there_is_nothing_to_select(here: Path, command: list[str], option: str) -> None:
    outcome = run(*command, "a.png", option, "1")
    assert (outcome.code, outcome.lines) == (
        2,
        [f"mdtool: {option}: selects among recorded findings; give them with --from-findings"],
    )


def test_tracks_are_those_of_the_input_among_several_sources(here: Path) -> None:
    Image.open("a.png").save("b.png")
    one = findings_jsonl("a.png", [FrameFindings([LEFT], analysed=True)], SIZE, still=True)
    other = findings_jsonl("b.png", [FrameFindings([MIDDLE], analysed=True)], SIZE, still=True)
    Path("f.jsonl").write_text(other + one)
    assert "the findings have 1 (face)" in redact("--drop-track", "3").err
    assert redact("--drop-track", "1").code == 0
    assert hidden() == set()
    outcome = run("redact", "a.png", "b.png", "-o", "out", "--from-findings", "f.jsonl", "--drop-track", "1")
    assert outcome.code == 2
    assert outcome.lines == ["mdtool: --drop-track: tracks are numbered in each input; give one input at a time"]
    assert not (here / "out").exists()


def test_a_label_holds_for_all_inputs(here: Path) -> None:
    Image.open("a.png").save("b.png")
    write(here / "f.jsonl", "a.png", "b.png")
    outcome = run(
        "redact", "a.png", "b.png", "-o", "out", "--from-findings", "f.jsonl", "--label", "face", "--style", "solid"
    )
    assert outcome.code == 0, outcome.err
    assert hidden("out/a.png") == hidden("out/b.png") == {"left", "middle"}


def test_a_prompt_that_one_of_the_inputs_was_not_searched_for_is_an_error(here: Path) -> None:
    Image.open("a.png").save("b.png")
    found = FrameFindings([RIGHT], analysed=True)
    lines = findings_jsonl("b.png", [found], SIZE, still=True, prompts=("license plate",))
    Path("f.jsonl").write_text(Path("f.jsonl").read_text() + lines)
    outcome = run("redact", "a.png", "b.png", "-o", "out", "--from-findings", "f.jsonl", "-p", "face")
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert outcome.err.startswith("mdtool: --prompt face: the findings of b.png are of license plate; ")


def test_an_object_whose_label_is_no_prompt_is_not_left_out_by_a_prompt(here: Path) -> None:
    """As centerface labels everything face, whatever the wording of the prompt."""
    lines = findings_jsonl("a.png", [FrameFindings([LEFT], analysed=True)], SIZE, still=True, prompts=("faces", "dog"))
    Path("f.jsonl").write_text(lines)
    assert redact("-p", "faces").code == 0
    assert hidden() == {"left"}


def test_tracks_of_several_streams_are_told_apart(here: Path) -> None:
    for stream in (0, 1):
        write(here / f"{stream}.jsonl", "a.png", stream=stream)
    Path("f.jsonl").write_text(Path("0.jsonl").read_text() + Path("1.jsonl").read_text())
    outcome = redact("--drop-track", "1")
    assert outcome.code == 2
    assert outcome.lines == ["mdtool: --drop-track 1: several video streams have a track 1; give 0:1 or 1:1"]
    assert "the findings have 0:1 (face), 0:2 (License  Plate)" in redact("--drop-track", "7").err


def test_whole_frame_masks_stay(here: Path) -> None:
    write(here / "f.jsonl", "a.png", findings=FrameFindings([LEFT], hidden=True))
    assert redact("--drop-track", "1").code == 0
    assert hidden() == {"left", "right", "middle"}


def test_findings_from_stdin_are_selected_too(here: Path) -> None:
    outcome = run(
        *("redact", "a.png", "-o", "out.png", "--from-findings", "-", "--style", "solid", "--keep-track", "2"),
        stdin=Path("f.jsonl").read_bytes(),
    )
    assert outcome.code == 0, outcome.err
    assert hidden() == {"right"}


def test_render_draws_the_selected_tracks_only(here: Path) -> None:
    assert run("render", "f.jsonl", "-o", "out.png", "--style", "solid", "--drop-track", "2").code == 0
    assert hidden() == {"left", "middle"}
    outcome = run("render", "f.jsonl", "-o", "other.png", "--keep-track", "9")
    assert (outcome.code, (here / "other.png").exists()) == (2, False)


def test_moderate_judges_the_selected_tracks_only(here: Path) -> None:
    arguments = ["moderate", "a.png", "--from-findings", "f.jsonl", "-p", "license plate", "--report-only", "--json"]
    (verdict,) = run(*arguments).json
    assert verdict["hit"]
    (verdict,) = run(*arguments, "--drop-track", "2").json
    assert not verdict["hit"]
    assert run(*arguments, "--label", "face").json[0]["hit"] is False
    assert run(*arguments, "--label", "dog").code == 2


def test_a_video_keeps_a_track_visible_on_every_frame(here: Path) -> None:
    make_video(here / "v.mkv", 6, rate=10)
    found = [FrameFindings([LEFT], analysed=True)] * 6
    Path("v.jsonl").write_text(findings_jsonl("v.mkv", found, (128, 96), rate=10))
    outcome = run(
        *("redact", "v.mkv", "-o", "out.mkv", "--from-findings", "v.jsonl", "--drop-track", "1", "--json", "-q"),
        *("--findings", "again.jsonl"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.json[0]["objects"] == 0
    assert '"track":1' not in Path("again.jsonl").read_text()


@pytest.mark.parametrize(("text", "track"), [("3", Track(3)), ("0:3", Track(3, 0)), ("12:0", Track(0, 12))])
def test_a_track_is_a_number_perhaps_with_its_stream(text: str, track: Track) -> None:
    assert parse_track(text) == track
    assert str(track) == text
