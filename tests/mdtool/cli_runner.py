"""Runs the program as a person does: in a process of its own."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

import mdtool.cli

SECONDS = 60  # more than any run here takes; one that hangs fails
COMMAND = [sys.executable, "-m", "mdtool"]
ROOT = Path(__file__).parents[2]
FAST_ENCODING = ("--preset", "ultrafast")


@dataclass
class Outcome:
    out: bytes
    err: str
    code: int

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Outcome]


def run_in_process(capture: pytest.CaptureFixture[str]) -> Run:
    """As `run`, but without a process of its own."""

    def here(*arguments: str | Path) -> Outcome:
        code = mdtool.cli.run([str(argument) for argument in arguments])
        out, err = capture.readouterr()
        return Outcome(out.encode(), err, code)

    return here


def environment() -> dict[str, str]:
    """Of this process, without the person's own settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MDTOOL_")}
    return {**kept, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(ROOT / "tests" / "no-settings")}


def run(
    *arguments: str | bytes | Path,
    stdin: bytes | IO[bytes] | int | None = None,
    stdout: IO[bytes] | int = subprocess.PIPE,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    before: Callable[[], object] | None = None,
    seconds: float = SECONDS,
) -> Outcome:
    """mdtool with these arguments; no outcome may show a traceback or the codes of a terminal. before: in the child."""
    given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": subprocess.DEVNULL if stdin is None else stdin}
    done: Any = subprocess.run(
        [*COMMAND, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**environment(), **(env or {})},
        preexec_fn=before,
        timeout=seconds,
        **given,
    )
    err = done.stderr.decode("utf-8", "surrogateescape")
    assert "Traceback" not in err, err
    assert "\x1b" not in err, err
    return Outcome(done.stdout or b"", err, done.returncode)


def redact(*arguments: str | bytes | Path, **how: Any) -> Outcome:
    """Quickly, where the encoder can."""
    return run("redact", *([] if "--preset" in arguments else FAST_ENCODING), *arguments, **how)


def reset_signal_handlers() -> None:
    """Signals, which a shell's & and nohup have this process ignore."""
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, signal.SIG_DFL)


@contextlib.contextmanager
def running_program(*arguments: str | Path, **how: Any) -> Iterator[Any]:
    """The program while it runs; it is ended, if need be, when the block is left."""
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    how.setdefault("env", environment())
    how.setdefault("preexec_fn", reset_signal_handlers)
    process = subprocess.Popen([*COMMAND, *arguments], **how)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def run_on_terminal(*arguments: str | Path, **variables: str) -> str:
    """What the program shows on a terminal of 20 columns; variables: of its environment."""
    leader, follower = pty.openpty()
    told = {**environment(), "COLUMNS": "20", **variables}
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=follower, stdout=subprocess.DEVNULL, stderr=follower, env=told
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 1 << 16):
            shown += chunk
    except OSError:
        pass  # how a terminal ends
    os.close(leader)
    assert process.wait(60) == 0
    return shown.decode()
