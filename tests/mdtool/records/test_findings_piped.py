"""`mdtool detect --jsonl`, and findings of one command that feed another while both run."""

import json
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cli_runner import FAST_ENCODING, run, running_program, spawn, wait_until
from make_findings import findings_jsonl, region
from make_media import SAMPLES, frames_of, is_face_visible, make_video

from mdtool.pipeline.findings_file import records
from mdtool.records.findings import FrameFindings

if sys.platform != "win32":
    import pty

FRAMES = 20
SOLID = ("--style", "solid", "--color", "#ff00ff")
SECONDS = 50


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("piped") / "clip.mp4", FRAMES, face=True, size=(192, 144))


@pytest.mark.posix("a lock on the file of records")
def test_findings_of_videos_photos_and_animations(clip: Path, tmp_path: Path) -> None:
    sources = [clip, SAMPLES / "group.png", SAMPLES / "animation.gif"]
    outcome = run("detect", *sources, "face", "--jsonl", tmp_path / "f.jsonl")
    assert (outcome.code, outcome.out) == (0, b"")
    assert "mdtool: 3 processed" in outcome.err
    found = list(records(tmp_path / "f.jsonl"))
    frames = {str(source): [r.info.frame for r in found if r.source == str(source)] for source in sources}
    assert [len(numbers) for numbers in frames.values()] == [FRAMES, 1, 20]
    assert all(numbers == list(range(len(numbers))) for numbers in frames.values())
    assert {(record.model, record.prompts) for record in found} == {("centerface", ("face",))}
    assert all(record.findings.regions for record in found)


@pytest.mark.posix("a lock on the file of records")
def test_they_are_those_that_redact_finds(clip: Path, tmp_path: Path) -> None:
    options = ["--sample", "7", "--threshold", "0.4"]
    assert run("detect", clip, "face", "--jsonl", tmp_path / "a", *options).code == 0
    redacting: list[str | Path] = [*options, *FAST_ENCODING, "-o", tmp_path / "out.mp4", "--findings", tmp_path / "b"]
    assert run("redact", clip, *redacting).code == 0
    *found, last = (tmp_path / "a").read_bytes().splitlines(keepends=True)
    settings = f'"settings":"{json.loads(last)["settings"]}",'.encode()
    assert b"".join(found).replace(settings, b"") == (tmp_path / "b").read_bytes()
    assert json.loads(last)["frames"] == sum(json.loads(line)["looked"] for line in found)


@pytest.mark.posix("a lock on the file of records")
def test_which_frames_are_looked_at(clip: Path, tmp_path: Path) -> None:
    def analysed(*options: str) -> list[bool]:
        assert run("detect", clip, "face", "--jsonl", tmp_path / "f", "--overwrite", *options).code == 0
        return [record.findings.analysed for record in records(tmp_path / "f")]

    assert all(analysed("--sample", "every"))
    assert sum(analysed("--sample", "10")) <= 4
    times = analysed("--sample", "every", "--from", "0.2", "--to", "0:00.4")
    assert [n for n, is_looked in enumerate(times) if is_looked] == [6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    "options",
    [
        ["--json"], ["--draw", "marked.png"], ["--max-objects", "3"], ["--sample", "0"], ["--from", "soon"],
        ["--from", "3", "--to", "2"], ["--tiles", "0x1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(clip: Path, tmp_path: Path, options: list[str]) -> None:
    outcome = run("detect", clip, "face", "--jsonl", tmp_path / "f", *options)
    assert outcome.code == 2
    assert len(outcome.lines) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_it_videos_are_refused_as_before(clip: Path) -> None:
    outcome = run("detect", clip, "face")
    assert outcome.code == 1
    assert "is a video, not an image; add --jsonl" in outcome.err
    assert run("detect", SAMPLES / "group.png", "face", "--tiles", "2x2").code == 2
    assert len(run("detect", SAMPLES / "group.png", "face").out.splitlines()) == 4


@pytest.mark.posix("a lock on the file of records")
def test_findings_are_not_written_over_what_is_there(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    assert run("detect", clip, "face", "--jsonl", tmp_path / "f").code == 74
    assert (tmp_path / "f").read_text() == "mine"
    own = tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    outcome = run("detect", own, "face", "--jsonl", own, "--overwrite")
    assert outcome.code == 74
    assert f"mdtool: {own}: not a file of mdtool records" in outcome.err
    assert own.read_bytes() == clip.read_bytes()


def test_one_bad_input_is_told_and_passed_over(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    outcome = run("detect", bad, SAMPLES / "group.png", "face", "--jsonl", "-")
    assert outcome.code == 1
    assert f"mdtool: {bad}: " in outcome.err
    failed, found = outcome.json
    assert (failed["input"], failed["error"]["code"]) == (str(bad), "input")
    assert (found["input"], len(found["answers"][0]["objects"])) == (str(SAMPLES / "group.png"), 4)


def test_one_command_feeds_the_other(clip: Path, tmp_path: Path) -> None:
    hiding: list[str | Path] = [
        "redact",
        clip,
        "--from-findings",
        "-",
        "-o",
        tmp_path / "out.mp4",
        *FAST_ENCODING,
        "--style",
        "solid",
        "--json",
    ]
    with running_program("detect", clip, "face", "--jsonl", "-") as first:
        outcome = spawn(*hiding, stdin=first.stdout, seconds=SECONDS)
        assert first.wait(SECONDS) == 0
    assert outcome.code == 0, outcome.err
    assert outcome.json[0]["model"] == "findings"
    assert not any(map(is_face_visible, frames_of(tmp_path / "out.mp4")))


@pytest.mark.posix("select on a pipe")
def test_findings_come_before_the_input_is_at_its_end(tmp_path: Path) -> None:
    source = make_video(tmp_path / "clip.mkv", 240, size=(64, 48))
    data = source.read_bytes()
    with running_program("detect", "-", "face", "--jsonl", "-", "--quiet", stdin=subprocess.PIPE) as process:
        feeding = threading.Thread(
            target=lambda: (process.stdin.write(data[: len(data) * 3 // 4]), process.stdin.flush())
        )
        feeding.start()
        assert select.select([process.stdout], [], [], SECONDS)[0], "nothing came while more could come"
        first = json.loads(process.stdout.readline())
        assert (first["source"], first["frame"]) == ("-", 0)
        feeding.join(SECONDS)
        process.stdin.write(data[len(data) * 3 // 4 :])
        process.stdin.close()
        process.stdin = None
        rest = process.stdout.read()
        assert process.wait(SECONDS) == 0
    assert len(rest.splitlines()) == 239 + 1  # and what was done with the video


def fed(clip: Path, target: Path) -> Any:
    """redact, that waits for findings."""
    return running_program(
        "redact", clip, "--from-findings", "-", "-o", target, *FAST_ENCODING, *SOLID, stdin=subprocess.PIPE
    )


def test_frames_are_hidden_as_their_findings_come(tmp_path: Path) -> None:
    clip, target = make_video(tmp_path / "clip.mp4", FRAMES, size=(64, 48)), tmp_path / "out.mp4"
    lines = (
        findings_jsonl(clip, [FrameFindings([region(0.25, 0.25, 0.75, 0.75)])] * FRAMES)
        .encode()
        .splitlines(keepends=True)
    )
    with fed(clip, target) as process:
        process.stdin.write(b"".join(lines[:-1]) + lines[-1][:20])
        process.stdin.flush()
        wait_until(lambda: (tmp_path / ".out.mp4.part").exists(), SECONDS)
        assert not target.exists()
        _, err = process.communicate(lines[-1][20:], timeout=SECONDS)
    assert process.returncode == 0, err
    for frame in frames_of(target):
        assert (frame.to_ndarray(format="rgb24")[16:32, 20:44].astype(int) - (255, 0, 255) < 60).all()


def test_findings_that_end_early_leave_no_output(tmp_path: Path) -> None:
    clip, target = make_video(tmp_path / "clip.mp4", FRAMES, size=(64, 48)), tmp_path / "out.mp4"
    data = findings_jsonl(clip, [FrameFindings()] * (FRAMES - 1)).encode()
    outcome = run("redact", clip, "--from-findings", "-", "-o", target, *FAST_ENCODING, stdin=data)
    assert outcome.code == 1
    assert f"have no record of its stream 0, frame {FRAMES - 1}" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.posix("signals to a process")
def test_an_interruption_while_findings_are_waited_for(tmp_path: Path) -> None:
    clip, target = make_video(tmp_path / "clip.mp4", FRAMES, size=(64, 48)), tmp_path / "out.mp4"
    with fed(clip, target) as process:
        wait_until(lambda: (tmp_path / ".out.mp4.part").exists(), SECONDS)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_findings_of_several_inputs_from_one_pipe(tmp_path: Path) -> None:
    inputs = [SAMPLES / "portrait.jpg", SAMPLES / "group.png"]
    found = run("detect", *reversed(inputs), "face", "--jsonl", "-")
    assert found.code == 0, found.err
    outcome = run("redact", *inputs, "--from-findings", "-", "-o", tmp_path / "out", "--json", stdin=found.out)
    assert outcome.code == 0, outcome.err
    assert [(row["model"], row["objects"]) for row in outcome.json] == [("findings", 1), ("findings", 4)]


def test_pictures_and_findings_cant_both_be_piped_in(tmp_path: Path) -> None:
    outcome = run("redact", "-", "--from-findings", "-", "-o", tmp_path / "out.mp4", stdin=b"")
    assert outcome.code == 2
    assert outcome.err == "mdtool: -: findings and inputs can't both come from stdin; give one of them as a file\n"


@pytest.mark.posix("a pseudo-terminal")
def test_a_terminal_has_no_findings(clip: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    outcome = spawn("redact", clip, "--from-findings", "-", "-o", tmp_path / "out.mp4", stdin=slave)
    assert outcome.code == 2
    assert "nothing is piped in" in outcome.err
    assert master > 0


@pytest.mark.posix("file names of any bytes")
def test_any_text_goes_through_a_pipe_in_any_locale(tmp_path: Path) -> None:
    name = "fête\udcff 人.png"
    (tmp_path / name).write_bytes((SAMPLES / "group.png").read_bytes())
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = spawn("detect", name, "face", "--jsonl", "-", cwd=tmp_path, env=plain)
    assert found.code == 0, found.err
    outcome = spawn("redact", name, "--from-findings", "-", "-o", "out.png", cwd=tmp_path, stdin=found.out, env=plain)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out.png").exists()


def test_nobody_reads_the_findings(clip: Path) -> None:
    with running_program("detect", clip, "face", "--jsonl", "-", "--sample", "every") as process:
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 141
    assert b"Traceback" not in err
