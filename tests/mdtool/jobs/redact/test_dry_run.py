"""`--dry-run` tells what would be done and does nothing; `--json` tells what was done."""

import re
from pathlib import Path

import pytest
from cli_runner import redact, run
from make_media import SAMPLES, frames_of

SUMMARY = {
    "source", "target", "model", "frames", "looks", "hidden_frames", "objects", "seconds", "stages", "duration",
    "speed", "incomplete", "notes",
}  # fmt: skip


def plan(*arguments: str | Path) -> list[str]:
    outcome = run("redact", "--dry-run", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out.decode().splitlines()


@pytest.mark.parametrize("name", ["crossing.mp4", "animation.gif", "group.png"])
def test_it_writes_nothing(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / name, tmp_path / "not" / f"out{Path(name).suffix}"
    source.write_bytes((SAMPLES / name).read_bytes())
    lines = plan(source, "-o", target, "--findings", tmp_path / "f.jsonl")
    assert lines[0] == f"{source} -> {target}"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert source.read_bytes() == (SAMPLES / name).read_bytes()


def test_it_names_the_default_output(tmp_path: Path) -> None:
    assert plan(SAMPLES / "group.png")[0].endswith("group.png -> " + str(SAMPLES / "group.redacted.png"))


def test_it_names_all_inputs_and_outputs(tmp_path: Path) -> None:
    names = ["group.png", "portrait.jpg", "vfr.mp4"]
    lines = plan(*(SAMPLES / name for name in names), "-o", tmp_path / "out")
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads == [f"{SAMPLES / name} -> {tmp_path / 'out' / name}" for name in names]


def test_it_says_what_becomes_of_each_stream() -> None:
    text = "\n".join(plan(SAMPLES / "crossing.mp4"))
    assert re.search(r"stream 0: video h264 640x360, 30 frames/s: redacted", text)
    assert re.search(r"stream 1: audio aac: stream copy", text)
    assert "150 frames" in text


def looks_planned(*arguments: str | Path) -> tuple[int, int]:
    found = re.search(r"(\d+) to (\d+) keyframes analysed by centerface", "\n".join(plan(*arguments)))
    assert found
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("crossing.mp4", [], marks=pytest.mark.slow), ("crossing.mp4", ["--sample", "10"]),
        ("crossing.mp4", ["--max-calls", "12"]),
        ("phone.mp4", []), ("animation.gif", []), ("animation.gif", ["--sample", "every"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)  # fmt: skip
def test_the_looks_are_as_planned(tmp_path: Path, name: str, options: list[str]) -> None:
    clip = SAMPLES / name
    least, most = looks_planned(clip, *options)
    summary = redact(clip, "-o", tmp_path / name, "--json", *options).json[0]
    assert least <= summary["looks"] <= most <= summary["frames"]


def test_from_findings_there_are_no_looks(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text("")
    lines = plan(SAMPLES / "crossing.mp4", "--from-findings", tmp_path / "f.jsonl")
    assert any("no model calls" in line for line in lines)


def test_it_tells_the_calls_of_a_verification() -> None:
    clip = SAMPLES / "vfr.mp4"
    assert not any("verification" in line for line in plan(clip))
    lines = "\n".join(plan(clip, "--verify", "every"))
    assert "verification of every frame of the output: about 8 model calls a frame" in lines
    assert "verification of 2 frames per second of the output" in "\n".join(plan(clip, "--verify", "fps=2"))


def test_names_are_on_one_line(tmp_path: Path) -> None:
    photo = tmp_path / "two\nlines.png"
    photo.write_bytes((SAMPLES / "group.png").read_bytes())
    first, *rest = plan(photo)
    assert first.startswith(f"{tmp_path}/two\\nlines.png -> ")
    assert len(rest) == 1
    broken = tmp_path / "no\nvideo.mp4"
    broken.write_bytes(b"this is no video")
    assert len(run("redact", "--dry-run", broken).lines) == 1


def test_a_photo_is_one_look() -> None:
    assert any("one model call" in line for line in plan(SAMPLES / "group.png"))


def test_what_cant_be_read_shows_in_the_exit_code(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video")
    outcome = run("redact", "--dry-run", broken, SAMPLES / "group.png", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert any(line.startswith(f"mdtool: {broken}: ") for line in outcome.lines)
    assert b"an image: one model call" in outcome.out


def test_wrong_usage_is_told_before_anything_is_planned() -> None:
    outcome = run("redact", "--dry-run", SAMPLES / "crossing.mp4", "--sample", "often")
    assert outcome.code == 2
    assert outcome.out == b""


# -- the summary


def test_a_summary_of_a_video(tmp_path: Path) -> None:
    outcome = redact(SAMPLES / "vfr.mp4", "-o", tmp_path / "out.mp4", "--json")
    assert outcome.err == ""
    (summary,) = outcome.json
    assert set(summary) == SUMMARY
    assert summary["source"] == str(SAMPLES / "vfr.mp4")
    assert summary["target"] == str(tmp_path / "out.mp4")
    assert summary["model"] == "centerface"
    assert summary["frames"] == len(frames_of(SAMPLES / "vfr.mp4"))
    assert 0 < summary["looks"] < summary["frames"] / 4
    assert summary["objects"] >= 2
    assert summary["hidden_frames"] == 0
    assert set(summary["stages"]) == {"decode", "model", "paint", "encode"}
    assert summary["duration"] == pytest.approx(5.15, abs=0.6)
    assert summary["speed"] == pytest.approx(summary["duration"] / summary["seconds"], rel=0.02)
    assert summary["incomplete"] == ""
    assert summary["notes"] == []


def test_a_summary_of_a_photo(tmp_path: Path) -> None:
    (summary,) = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png", "--json").json
    assert set(summary) == SUMMARY
    assert (summary["frames"], summary["looks"], summary["objects"]) == (1, 1, 4)
    assert summary["duration"] is None
    assert summary["speed"] is None


def test_a_line_for_each_input(tmp_path: Path) -> None:
    inputs = [SAMPLES / "group.png", SAMPLES / "portrait.jpg"]
    outcome = redact(*inputs, "-o", tmp_path, "--json")
    assert [summary["source"] for summary in outcome.json] == list(map(str, inputs))


def test_without_it_a_line_for_the_person(tmp_path: Path) -> None:
    outcome = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png")
    assert outcome.out == b""
    (line,) = outcome.lines
    assert line.startswith(f"{tmp_path / 'out.png'}: 1 image, 1 analysed by centerface, 4 objects, ")


def test_quiet_says_nothing(tmp_path: Path) -> None:
    outcome = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png", "-q")
    assert (outcome.code, outcome.out, outcome.err) == (0, b"", "")


def test_frames_that_nobody_could_judge_are_counted(tmp_path: Path) -> None:
    (summary,) = redact(SAMPLES / "animation.gif", "-o", tmp_path / "out.gif", "--max-calls", "1", "--json").json
    assert summary["looks"] == 1
    assert summary["hidden_frames"] > 0
