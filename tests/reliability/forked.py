"""Runs the program in a fork, which has its modules loaded already: fast, and whatever happens stays there."""

import importlib
import os
import pkgutil
import resource
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtool.cli

# What commands import when they run, besides all modules of PACKAGES. No threads may start before a fork.
LIBRARIES = (
    "av", "cv2", "numpy", "PIL.Image", "pydantic.type_adapter", "pyvips", "tokenizers", "torch", "typer._adapters",
)  # fmt: skip
PACKAGES = ("engine", "mdtool", "recipes")
LEFT_OUT = ("__main__", "_native", "training", "lmms_eval", "cluster", "server")
ADDRESS_SPACE = 8 << 30  # bytes
POLL_SECONDS = 0.005
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Outcome:
    """What became of one command.

    Attributes:
        code: The exit code; minus a signal that ended the process; None where it took too long and was killed.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
        peak: Most memory that its process has used, in bytes.
    """

    code: int | None
    out: bytes
    err: str
    peak: int


def preload() -> None:
    """Import what the program's commands need, so that each fork has it."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(part in module.name for part in LEFT_OUT):
                importlib.import_module(module.name)


def start(arguments: Sequence[str], folder: Path) -> int:
    """Start the program in a fork, with `folder` as the current one; return its process id."""
    signal.pthread_sigmask(signal.SIG_BLOCK, mdtool.cli.ENDED_BY)  # one that comes early waits for a handler
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mdtool.cli.ENDED_BY)
        return child
    code = 70
    try:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.chdir(folder)
        for ended_by in mdtool.cli.ENDED_BY:
            signal.signal(ended_by, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mdtool.cli.ENDED_BY)
        code = mdtool.cli.run(list(arguments))
    except KeyboardInterrupt:
        code = 130
        if signal.getsignal(signal.SIGTERM) is not signal.default_int_handler:  # the program had begun
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(child: int, folder: Path, seconds: float) -> Outcome:
    """Wait for a fork, and kill it after so many seconds of CPU time, or six times as many of waiting.

    The latter are counted in naps, not by the clock, on which time passes too while all processes are stopped.
    """
    naps, killed = 6 * seconds / POLL_SECONDS, False
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        naps -= 1
        if not killed and (naps < 0 or _cpu_seconds(child) > seconds):
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(POLL_SECONDS)
    code = None if killed else os.waitstatus_to_exitcode(status)
    err = (folder / "stderr").read_bytes().decode("utf-8", "backslashreplace")
    return Outcome(code, (folder / "stdout").read_bytes(), err, used.ru_maxrss << 10)


def run(arguments: Sequence[str], folder: Path, seconds: float) -> Outcome:
    """Run the program in a fork; its stdout and stderr lie in `folder` afterwards."""
    return finish(start(arguments, folder), folder, seconds)


def _cpu_seconds(child: int) -> float:
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # no Linux
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def in_fork(work: Callable[[], object]) -> None:
    """Run a function in a fork: what it loads, and the threads that it starts, end with it.

    Raises:
        RuntimeError: It raised.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("a fork failed")
