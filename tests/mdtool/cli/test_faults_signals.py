"""Stopped at any moment, by a signal or by a pipe that closes, the program leaves nothing that looks finished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_runner import FAST_ENCODING, redact, run_on_terminal, running_program, spawn, wait_until
from make_media import SAMPLES, frames_of, make_video

if sys.platform != "win32":
    import pty

SLOW: list[str | Path] = ["redact", SAMPLES / "busy.mp4", "--sample", "every", *FAST_ENCODING]  # some seconds of work
PROMPTLY = 5  # seconds


def working(folder: Path) -> bool:
    """Whether a part of an output has been written."""
    return any(part.stat().st_size for part in folder.glob(".*.part"))


@pytest.mark.posix("signals to a process")
@pytest.mark.parametrize(
    "asked",
    ["SIGINT", *(pytest.param(one, marks=pytest.mark.slow) for one in ("SIGTERM", "SIGHUP"))],
)
def test_interrupted(tmp_path: Path, asked: str) -> None:
    with running_program(*SLOW, "-o", tmp_path / "out.mp4") as process:
        wait_until(lambda: working(tmp_path))
        process.send_signal(signal.Signals[asked])
        begin = time.monotonic()
        _, err = process.communicate(timeout=PROMPTLY)
        assert time.monotonic() - begin < PROMPTLY
    assert (process.returncode, err) == (130, b"mdtool: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which libraries a process has loaded")
@pytest.mark.parametrize("library", ["/_datetime.", "/libtorch_cpu."], ids=["of the program", "of torch"])
def test_interrupted_in_its_imports(library: str) -> None:
    with running_program("caption", SAMPLES / "scenes", "--model", "pocket", "--device", "cpu") as process:
        wait_until(lambda: library in Path(f"/proc/{process.pid}/maps").read_text())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PROMPTLY)
    assert (process.returncode, out, err) == (130, b"", b"mdtool: interrupted\n")


@pytest.mark.posix("signals to a process")
def test_interrupted_twice(tmp_path: Path) -> None:
    with running_program(*SLOW, "-o", tmp_path / "out.mp4") as process:
        wait_until(lambda: working(tmp_path))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PROMPTLY)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.posix("signals to a process")
def test_ignored_hang_up(tmp_path: Path) -> None:
    """As nohup has it."""
    ignore: Any = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with running_program(
        "redact", SAMPLES / "blink.mp4", *FAST_ENCODING, "-o", tmp_path / "out.mp4", **ignore
    ) as process:
        wait_until(lambda: list(tmp_path.iterdir()))
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.posix("signals to a process")
@pytest.mark.parametrize("share", [0.0, 0.5], ids=["nothing came", "a part came"])
def test_interrupted_while_input_is_awaited(tmp_path: Path, share: float) -> None:
    content = make_video(tmp_path / "a.mkv", 60).read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    with running_program("redact", "-", "-o", out / "b.mkv", *FAST_ENCODING, stdin=subprocess.PIPE) as process:
        process.stdin.write(content[: round(len(content) * share)])
        process.stdin.flush()
        wait_until(lambda: list(out.iterdir()))
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(PROMPTLY) == 130
        process.stdin.close()
        process.stdin = None
        assert process.stderr.read() == b"mdtool: interrupted\n"
    assert list(out.iterdir()) == []


@pytest.mark.posix("signals to a process")
def test_interrupted_batch_keeps_what_is_done(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    make_video(folder / "a.mp4", 3)
    (folder / "b.mp4").symlink_to(SAMPLES / "busy.mp4")
    make_video(folder / "c.mp4", 3)
    with running_program("redact", folder, "-o", out, "--sample", "every", *FAST_ENCODING) as process:
        wait_until(lambda: (out / ".b.mp4.part").exists())
        process.send_signal(signal.SIGTERM)
        assert process.wait(PROMPTLY) == 130
    assert [p.name for p in out.iterdir()] == ["a.mp4"]
    assert len(frames_of(out / "a.mp4")) == 3


def test_killed_and_run_again(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with running_program(*SLOW, "-o", target) as process:
        wait_until(lambda: working(tmp_path))
        process.kill()
        process.wait()
    assert [p.name for p in tmp_path.iterdir()] == [".out.mp4.part"]
    source = make_video(tmp_path / "a.mp4")
    assert redact(source, "-o", target).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]
    assert redact(source, "-o", tmp_path / "fresh.mp4").code == 0
    assert target.read_bytes() == (tmp_path / "fresh.mp4").read_bytes()


@pytest.mark.parametrize("wanted", [0, 1000])
def test_reader_of_the_pipe_goes_away(tmp_path: Path, wanted: int) -> None:
    options: list[str | Path] = ["redact", SAMPLES / "busy.mp4", *FAST_ENCODING, "-o", "-"]
    with running_program(*options) as process:
        process.stdout.read(wanted)
        process.stdout.close()
        process.stdout = None
        err = process.stderr.read()
        assert (process.wait(60), err) == (141, b"")


def test_pipe_of_rows_closes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_video(tmp_path / name, 3)
    with running_program("redact", tmp_path, "-o", tmp_path / "out", *FAST_ENCODING, "--json") as process:
        process.stdout.close()
        process.stdout = None
        err = process.stderr.read()
        assert (process.wait(60), err) == (141, b"")


CLOSED: dict[str, Any] = {"stdin": 0, "stdout": 1, "stderr": 2}


@pytest.mark.posix("standard streams that are closed")
@pytest.mark.parametrize("name", CLOSED)
def test_a_stream_that_is_closed(tmp_path: Path, name: str) -> None:
    """No file takes its number, and gets what was meant for it."""
    source, number = make_video(tmp_path / "a.mp4", 6), CLOSED[name]
    (tmp_path / "bad.mp4").write_bytes(b"words")
    arguments: list[str | Path] = ["redact", *FAST_ENCODING, source, tmp_path / "bad.mp4", "-o", tmp_path / "out"]
    outcome = spawn(*arguments, before=lambda: os.close(number))
    assert outcome.code == 1
    assert (outcome.out, len(outcome.lines)) == (b"", 0 if name == "stderr" else 2)
    assert redact(source, "-o", tmp_path / "b.mp4").code == 0
    assert (tmp_path / "out" / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    if name == "stdout":
        for option in (["-o", "-"], ["-o", tmp_path / "c.mp4", "--json"]):
            outcome = spawn("redact", *FAST_ENCODING, source, *option, before=lambda: os.close(1))
            assert (outcome.code, len(outcome.lines)) == (74, 1)
    if name == "stdin":
        outcome = spawn("redact", *FAST_ENCODING, "-", "-o", "-", before=lambda: os.close(0))
        assert (outcome.code, len(outcome.lines), outcome.out) == (1, 1, b"")


@pytest.mark.posix("a pseudo-terminal")
def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    options: list[str | Path] = ["redact", make_video(tmp_path / "a.mp4"), *FAST_ENCODING]
    assert "\x1b[" in run_on_terminal(*options, "-o", tmp_path / "1.mp4", TERM="xterm")
    assert "\x1b[" not in run_on_terminal(*options, "-o", tmp_path / "2.mp4", TERM="dumb")
    plain = run_on_terminal(*options, "-o", tmp_path / "3.mp4", TERM="xterm", NO_COLOR="1")
    assert not any(f"\x1b[{code}" in plain for code in range(30, 50))
    assert run_on_terminal(*options, "-o", tmp_path / "4.mp4", "--quiet", TERM="xterm") == ""


@pytest.mark.posix("a pseudo-terminal")
def test_a_terminal_as_stdin(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    outcome = spawn("redact", "-", "-o", tmp_path / "out.mp4", stdin=follower, seconds=20)
    os.close(leader)
    os.close(follower)
    assert (outcome.code, len(outcome.lines)) == (2, 1)


@pytest.mark.posix("a pseudo-terminal")
def test_a_terminal_as_stdout() -> None:
    """It is no place for a video."""
    leader, follower = pty.openpty()
    outcome = spawn("redact", *FAST_ENCODING, SAMPLES / "portrait.jpg", "-o", "-", stdout=follower, seconds=20)
    os.close(leader)
    os.close(follower)
    assert (outcome.code, len(outcome.lines)) == (2, 1)


def test_python_ends_with_it() -> None:
    """No thread is left that keeps the process."""
    code = "import sys, mdtool.cli as c; c.run(['redact', sys.argv[1], '-o', '-']); import threading; "
    code += "sys.exit(len([t for t in threading.enumerate() if t.name == 'stage']))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(SAMPLES / "blink.mp4")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
