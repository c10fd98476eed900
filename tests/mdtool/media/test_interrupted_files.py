"""An interruption at any line of opening and committing an output leaves it whole or absent, and no temporary file."""

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cli_runner import reset_signal_handlers, run
from make_media import SAMPLES

from mdtool.interruption import INTERRUPT_EVENT, interrupt
from mdtool.media.files import atomic_file
from mdtool.media.files.atomic_file import AtomicFile

pytestmark = pytest.mark.posix("signals")
FUNCTIONS = {"_try_lock", "restrict", "commit", "_rename_to_new"}
MAX_LINES = 200
# Interrupted while typer reads the declared options, before it runs the command.
START = """
import signal, sys
import mdtool.cli
def interrupt(frame, event, arg):
    if event == "call" and frame.f_code.co_name == "get_command":
        sys.setprofile(None)
        signal.raise_signal(signal.SIG)
sys.argv = ["mdtool", "redact", "a.png"]
sys.setprofile(interrupt)
mdtool.cli.main()
"""


def write_interrupted(target: Path, overwrite: bool, line: int) -> bool:
    """Write an output, with a signal at the start of the given line of those that run; False if fewer run."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != atomic_file.__file__ or frame.f_code.co_name not in FUNCTIONS:
            return None
        if event == "line":
            lines += 1
            if lines == line:
                signal.raise_signal(signal.SIGINT)
        return trace

    before, tracer = signal.signal(signal.SIGINT, lambda *_: interrupt()), sys.gettrace()
    sys.settrace(trace)
    try:
        with AtomicFile(target, overwrite) as file:
            file.part.write_bytes(b"new")
            file.commit()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(tracer)
        signal.signal(signal.SIGINT, before)
        INTERRUPT_EVENT.clear()
    return lines >= line


@pytest.mark.parametrize("overwrite", [False, True])
def test_interrupted_at_every_line(tmp_path: Path, overwrite: bool) -> None:
    target, seen = tmp_path / "out.bin", set()
    for line in range(1, MAX_LINES):
        target.unlink(missing_ok=True)
        if overwrite:
            target.write_bytes(b"old")
        reached = write_interrupted(target, overwrite, line)
        seen.add(target.read_bytes() if target.exists() else None)
        assert [path.name for path in tmp_path.iterdir()] in ([], ["out.bin"]), line
        if not reached:
            break
    assert 20 < line < MAX_LINES - 1
    assert seen == ({b"old", b"new"} if overwrite else {None, b"new"})


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_before_the_command(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START.replace("SIG)", f"{name})")],
        capture_output=True, text=True, timeout=60, preexec_fn=reset_signal_handlers,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "mdtool: interrupted\n")


def test_an_error_of_the_model_that_comes_of_an_interruption(tmp_path: Path) -> None:
    """As where a signal hits a library while it reads weights."""
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    command = ("caption", SAMPLES / "portrait.jpg", "--model", tmp_path)
    assert run(*command).code == 4
    INTERRUPT_EVENT.set()
    try:
        outcome = run(*command)
    finally:
        INTERRUPT_EVENT.clear()
    assert (outcome.code, outcome.err) == (130, "mdtool: interrupted\n")
