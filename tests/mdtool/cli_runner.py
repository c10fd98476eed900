"""Run the command line: `run` in this process, `spawn` in a subprocess where the process is the subject."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

import pytest

import mdtool.cli
from mdtool.interruption import ignore_lost_interrupt
from mdtool.media.image.pillow import pillow
from mdtool.media.sources import open_media

if sys.platform != "win32":
    import pty

SECONDS = 120  # more than any run here takes on a busy machine; one that hangs fails
COMMAND = [sys.executable, "-m", "mdtool"]
ROOT = Path(__file__).parents[2]
FAST_ENCODING = ("--preset", "ultrafast")
SIGNALS = mdtool.cli.ENDED_BY


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


def _outcome(out: bytes, err: bytes, code: int) -> Outcome:
    """Return the outcome, which must not show a traceback or terminal escape codes."""
    text = err.decode("utf-8", "surrogateescape")
    assert "Traceback" not in text, text
    assert "\x1b" not in text, text
    return Outcome(out, text, code)


def spawn(
    *arguments: str | bytes | Path,
    stdin: bytes | IO[bytes] | int | None = None,
    stdout: IO[bytes] | int = subprocess.PIPE,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    before: Callable[[], object] | None = None,
    seconds: float = SECONDS,
) -> Outcome:
    """Run mdtool in a subprocess; `before` is called there first, on POSIX systems."""
    given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": subprocess.DEVNULL if stdin is None else stdin}
    done: Any = subprocess.run(
        [*COMMAND, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        preexec_fn=before,
        timeout=seconds,
        **given,
    )
    return _outcome(done.stdout or b"", done.stderr, done.returncode)


def run(
    *arguments: str | bytes | Path,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    seconds: float = SECONDS,
) -> Outcome:
    """Run mdtool in this process, and restore the process's state afterwards.

    File descriptors 0, 1 and 2 are pipes, as in a subprocess; none is a terminal.
    """
    out = bytearray()
    with ExitStack() as stack:
        stack.enter_context(_surroundings(env or {}))
        stack.enter_context(_time_limit(seconds))
        if cwd:
            stack.enter_context(contextlib.chdir(cwd))
        err = stack.enter_context(tempfile.TemporaryFile())
        source = stack.enter_context(_nothing() if stdin is None else _fed(stdin))
        target = stack.enter_context(_collected(out))
        stack.enter_context(_redirected(source, target, err.fileno()))
        code = _code_of([os.fsdecode(argument) for argument in arguments])
        err.seek(0)
        told = err.read()
    return _outcome(bytes(out), told, code)


def _code_of(arguments: list[str]) -> int:
    try:
        code = mdtool.cli.run(arguments)
    except SystemExit as end:  # as typer's completion has it
        code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


# One each for all runs, since whoever is loaded during a run may hold them: they lead to where the files 1 and 2 do.
assert sys.__stdout__
_STDOUT = open(1, "w", encoding="utf-8", errors=sys.__stdout__.errors, closefd=False)  # noqa: SIM115
_STDERR = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


@contextmanager
def _redirected(*files: int) -> Iterator[None]:
    """Redirect file descriptors 0, 1 and 2, and Python's standard streams, to these."""
    streams = sys.stdin, sys.stdout, sys.stderr
    kept = [os.dup(number) for number in range(3)]
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _STDOUT, _STDERR
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, file in enumerate(kept):
            os.dup2(file, number)
            os.close(file)


@contextmanager
def _nothing() -> Iterator[int]:
    with open(os.devnull, "rb") as file:
        yield file.fileno()


@contextmanager
def _fed(content: bytes) -> Iterator[int]:
    """Return the read end of a pipe, to which a thread writes this."""
    read, write = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(write, "wb") as pipe:
            pipe.write(content)

    with _alongside(feed):
        try:
            yield read
        finally:
            os.close(read)


@contextmanager
def _collected(into: bytearray) -> Iterator[int]:
    """Return the write end of a pipe, whose content a thread collects."""
    read, write = os.pipe()

    def collect() -> None:
        with open(read, "rb") as pipe:
            into.extend(pipe.read())

    with _alongside(collect):
        try:
            yield write
        finally:
            os.close(write)


@contextmanager
def _alongside(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    if sys.platform == "win32":  # which has no alarm
        yield
        return

    def too_long(*_: object) -> None:
        pytest.fail(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _surroundings(env: dict[str, str]) -> Iterator[None]:
    """Isolate process state: environment, signal handlers, and stderr for messages of Python and libraries."""
    variables = dict(os.environ)
    signals = {asked: signal.getsignal(asked) for asked in SIGNALS}
    hooks, handlers = (sys.unraisablehook, threading.excepthook), logging.root.handlers
    os.environ.update(env)
    sys.unraisablehook, threading.excepthook = ignore_lost_interrupt, threading.__excepthook__
    logging.root.handlers = []
    _forget()
    try:
        with _warnings_told():
            yield
    finally:
        (sys.unraisablehook, threading.excepthook), logging.root.handlers = hooks, handlers
        for asked, handler in signals.items():
            signal.signal(asked, handler)
        for name in os.environ.keys() - variables:
            del os.environ[name]
        os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})


def _forget() -> None:
    """Reset the caches that the program keeps for the life of its process."""
    open_media._VIDEOS.clear()
    open_media.is_endless.cache_clear()
    pillow.cache_clear()  # the filter of warnings that it set went with the test that called it first


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Show warnings as Python does, in place of pytest's capture."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        warnings.showwarning = _tell_warning
        yield


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def redact(*arguments: str | bytes | Path, **how: Any) -> Outcome:
    """Run `redact` with fast encoder settings."""
    return run("redact", *quickly(arguments), **how)


def quickly(arguments: tuple[str | bytes | Path, ...]) -> tuple[str | bytes | Path, ...]:
    return arguments if "--preset" in arguments else (*FAST_ENCODING, *arguments)


def reset_signal_handlers() -> None:
    """Restore the default signal handlers, since a shell's & and nohup make this process ignore signals."""
    for asked in SIGNALS:
        signal.signal(asked, signal.SIG_DFL)


@contextlib.contextmanager
def running_program(*arguments: str | Path, **how: Any) -> Iterator[Any]:
    """Start the program; it is killed, if it still runs, at the end of the block."""
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    if sys.platform != "win32":
        how.setdefault("preexec_fn", reset_signal_handlers)
    process = subprocess.Popen([*COMMAND, *arguments], **how)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def run_on_terminal(*arguments: str | Path, **variables: str) -> str:
    """Return what the program prints on a terminal of 20 columns; variables: environment variables."""
    leader, follower = pty.openpty()
    told = {**os.environ, "COLUMNS": "20", **variables}
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
