"""A run that is killed goes on when it is called again, and its result is that of a run that was not."""

import os
import signal
from pathlib import Path

import pytest
from cli_runner import redact, run, running_program, wait_until
from make_media import SAMPLES, frames_of, times_of

from mdtool.jobs.bench.recipe import loop_clip

FRAMES = 2000
OPTIONS = ("--preset", "ultrafast", "--crf", "30")
COMMANDS = {
    "moderate": ("moderate", "-p", "face", "--action", "blur"),
    "moderate-cut": ("moderate", "-p", "face", "--action", "cut", "--only", "0,0,0.25,1"),
    "gaze": ("gaze", "--jsonl", "lines.jsonl"),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Over a minute, with sound."""
    target = tmp_path_factory.mktemp("long") / "long.mp4"
    loop_clip(SAMPLES / "crossing.mp4", target, FRAMES)
    return target


@pytest.fixture(scope="module")
def uninterrupted(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("whole") / "out.mp4"
    assert redact(clip, "-o", target, *OPTIONS).code == 0
    assert [path.name for path in target.parent.iterdir()] == ["out.mp4"]
    return target


def stretches(target: Path) -> list[str]:
    return sorted(path.name for path in (target.parent / f".{target.name}.work").glob("*.packets"))


def end(clip: Path, target: Path, after: int, *options: str, interrupted: bool = False) -> None:
    """A run that is killed, or interrupted, once so many stretches are whole."""
    with running_program("redact", clip, "-o", target, *OPTIONS, *options) as process:
        wait_until(lambda: len(stretches(target)) >= after, 60)
        if interrupted:
            process.send_signal(signal.SIGINT)
        else:
            process.kill()
        process.wait(20)
    assert not target.exists()
    assert len(stretches(target)) >= after


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interrupted", "after"),
    [(False, 1), (False, 2), pytest.param(True, 1, marks=pytest.mark.posix("signals to a process"))],
)
def test_the_same_bytes_come_out(
    clip: Path, uninterrupted: Path, tmp_path: Path, interrupted: bool, after: int
) -> None:
    target = tmp_path / "out.mp4"
    end(clip, target, after, interrupted=interrupted)
    outcome = redact(clip, "-o", target, *OPTIONS)
    assert outcome.code == 0, outcome.err
    assert "resuming the previous run" in outcome.err
    assert target.read_bytes() == uninterrupted.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_of_every_recipe(clip: Path, tmp_path: Path, name: str) -> None:
    """Killed in the first pass, then in the second, it gives what it gives at one go."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    target = killed / "out.mp4"
    whole.mkdir()
    killed.mkdir()
    command: tuple[str | Path, ...] = (*COMMANDS[name], clip, "-o", "out.mp4", *OPTIONS)
    assert run(*command, cwd=whole).code == 0
    journal = killed / ".out.mp4.work" / "journal.jsonl"
    for reached in (
        lambda: journal.exists() and journal.read_bytes().count(b"\n") > 20,
        lambda: len(stretches(target)) >= 1,
    ):
        with running_program(*command, cwd=killed) as process:
            wait_until(reached, 60)
            process.kill()
            process.wait(20)
        assert [path.name for path in killed.iterdir() if not path.name.startswith(".")] == []
    outcome = run(*command, cwd=killed)
    assert outcome.code == 0, outcome.err
    assert "resuming the previous run" in outcome.err
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.iterdir():
        assert path.read_bytes() == (killed / path.name).read_bytes(), path.name


@pytest.mark.posix("signals to a process")
@pytest.mark.parametrize("output", ["--findings", "--report"])
def test_a_run_that_writes_no_copy_resumes_too(clip: Path, tmp_path: Path, output: str) -> None:
    command = ("moderate", clip, "-p", "face", "--report-only", output, "found")
    log = tmp_path / ".found.long.mp4.work" / "journal.jsonl"
    with running_program(*command, cwd=tmp_path) as process:
        wait_until(lambda: log.exists() and log.read_bytes().count(b"\n") > 20, 60)
        process.kill()
        process.wait(20)
    outcome = run(*command, cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "resuming the previous run" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


@pytest.mark.slow
def test_what_was_encoded_is_not_encoded_again(clip: Path, tmp_path: Path) -> None:
    """The first stretch of a run in magenta, in the place of that of a blurred one, is in the result."""
    target, other = tmp_path / "out.mp4", tmp_path / "other.mp4"
    end(clip, target, 1)
    end(clip, other, 1, "--style", "solid", "--color", "magenta")
    (name, *_) = stretches(other)
    os.replace(tmp_path / ".other.mp4.work" / name, tmp_path / ".out.mp4.work" / name)
    assert redact(clip, "-o", target, *OPTIONS).code == 0
    pictures = [frame.to_ndarray(format="rgb24") for frame in frames_of(target)[:: FRAMES // 20]]
    magenta = [((p[..., 0] > 180) & (p[..., 1] < 90) & (p[..., 2] > 180)).mean() > 0.005 for p in pictures]
    assert magenta[0]
    assert not magenta[-1]


@pytest.mark.slow
def test_other_settings_begin_anew(clip: Path, uninterrupted: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    end(clip, target, 1)
    outcome = redact(clip, "-o", target, *OPTIONS, "--style", "solid")
    assert outcome.code == 0
    assert "resuming" not in outcome.err
    assert "settings have changed since the previous run; starting over" in outcome.err
    assert target.read_bytes() != uninterrupted.read_bytes()


@pytest.mark.slow
def test_another_input_begins_anew(clip: Path, uninterrupted: Path, tmp_path: Path) -> None:
    target, own = tmp_path / "out.mp4", tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    end(own, target, 1)
    own.touch()
    outcome = redact(own, "-o", target, *OPTIONS)
    assert "resuming" not in outcome.err
    assert target.read_bytes() == uninterrupted.read_bytes()


def test_times_are_those_of_the_clip(clip: Path, uninterrupted: Path) -> None:
    assert times_of(uninterrupted) == times_of(clip)
