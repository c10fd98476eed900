"""Runs a conversation over the lines of a terminal or of a pipe."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mdtool.errors import ExitCode
from mdtool.jobs.chat.session import Session
from mdtool.media.files import stdin

PROMPT = "> "


class Cancellation:
    """Ctrl-C on a terminal: during an answer it ends the answer, otherwise it discards the line that is typed."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._answering = False

    def is_cancelled(self) -> bool:
        """Whether Ctrl-C was pressed during this answer."""
        return self._event.is_set()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle Ctrl-C so."""
        earlier = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, earlier)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Let Ctrl-C end an answer."""
        self._event.clear()
        self._answering = True
        try:
            yield
        finally:
            self._answering = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._answering:
            raise KeyboardInterrupt
        self._event.set()


def run_chat(session: Session, cancellation: Cancellation) -> ExitCode:
    """Serve the lines of stdin until it ends, or until /quit.

    On a terminal lines are edited and asked for, and an error ends nothing; through a pipe it is in the exit code.
    """
    if not sys.stdin.isatty():
        for line in stdin.lines("messages"):
            if not session.serve(line):
                break
        return ExitCode.SOME_FAILED if session.failed else ExitCode.OK
    with suppress(ImportError):  # Windows has none
        import readline  # noqa: F401  input() uses it once it is imported
    with cancellation.handled():
        while (typed := _typed()) is not None:
            with cancellation.answering():
                if not session.serve(typed):
                    break
    return ExitCode.OK


def _typed() -> str | None:
    """Return the next line that is typed; None at the end."""
    while True:
        try:
            if sys.stdout.isatty():
                return input(PROMPT)
            sys.stderr.write(PROMPT)
            sys.stderr.flush()
            return sys.stdin.readline() or None
        except KeyboardInterrupt:
            sys.stderr.write("\n")
        except EOFError:
            sys.stderr.write("\n")
            return None
