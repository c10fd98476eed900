"""Runs a conversation over the lines of a terminal or of a pipe."""

import sys
from contextlib import suppress

from mdtool.errors import ExitCode
from mdtool.jobs.chat.cancellation import Cancellation
from mdtool.jobs.chat.session import Session
from mdtool.media.files import stdin

PROMPT = "> "


def run_chat(session: Session, cancellation: Cancellation) -> ExitCode:
    """Serve the lines of stdin until it ends, or until /quit.

    On a terminal lines are edited and asked for, and neither an error nor Ctrl-C ends the conversation; through a pipe
    an error is in the exit code.
    """
    if not sys.stdin.isatty():
        for line in stdin.lines("messages"):
            if not session.serve(line):
                break
        return ExitCode.SOME_FAILED if session.failed else ExitCode.OK
    with suppress(ImportError):  # Windows has none
        import readline  # noqa: F401  input() uses it once it is imported
    with cancellation.handled():
        while True:
            try:
                typed = _typed()
                if typed is None or not session.serve(typed):
                    return ExitCode.OK
            except KeyboardInterrupt:  # while a line was typed, or a command was run
                sys.stderr.write("\n")


def _typed() -> str | None:
    """Return the next line that is typed; None at the end."""
    try:
        if sys.stdout.isatty():
            return input(PROMPT)
        sys.stderr.write(PROMPT)
        sys.stderr.flush()
        return sys.stdin.readline() or None
    except EOFError:
        sys.stderr.write("\n")
        return None
