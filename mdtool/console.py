"""Messages during a run, on stderr: a progress bar on a terminal, errors, notes, a summary of each input."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mdtool.errors import UsageError
from mdtool.escaping import one_line
from mdtool.network.urls import without_secrets
from mdtool.stdout import write_json_record

SECONDS_BETWEEN_UPDATES = 0.1


class Console:
    """The messages of one run."""

    def __init__(self, quiet: bool = False, as_json: bool = False, verbose: bool = False) -> None:
        """Create a console.

        Args:
            quiet: Whether only errors are printed.
            as_json: Whether summaries go to stdout as JSON Lines, not to stderr as text.
            verbose: Whether details are printed too.

        Raises:
            UsageError: Both quiet and verbose.
        """
        if quiet and verbose:
            raise UsageError("--quiet and --verbose exclude each other; leave one out")
        self.quiet = quiet
        self.as_json = as_json
        self.verbose = verbose
        self._bar: Any = None
        self._task: Any = None
        self._updated = 0.0

    def error(self, message: str) -> None:
        """Print an error."""
        self.clear()
        _print(f"mdtool: {message}")

    def note(self, message: str) -> None:
        """Print a message, unless quiet."""
        if not self.quiet:
            self.clear()
            _print(f"mdtool: {message}")

    def explain(self, message: str) -> None:
        """Print a message if verbose."""
        if self.verbose:
            self.note(message)

    def ask(self, question: str) -> bool:
        """Ask a question that is answered with y or n; return whether the answer was y.

        Nothing is asked, and the answer is no, where nobody would answer: if stdin or stderr is no terminal, in the
        background of one, and if quiet.
        """
        if self.quiet or not (sys.stdin.isatty() and sys.stderr.isatty() and _in_foreground()):
            return False
        self.clear()
        sys.stderr.write(f"mdtool: {one_line(question)} [y/N] ")
        sys.stderr.flush()
        answer = ""
        try:
            answer = sys.stdin.readline()
        finally:
            if not answer.endswith("\n"):  # an interruption, or the end of the input
                sys.stderr.write("\n")
        return answer.strip().lower() in ("y", "yes")

    def progress(self, source: str, frames: int, total: int | None, counts: str) -> None:
        """Update the progress bar, which is shown only if stderr is a terminal.

        Args:
            source: Name of the input.
            frames: Number of frames that are done.
            total: Number of frames in all; None if unknown.
            counts: What was found so far, as text.
        """
        now = time.monotonic()
        if self.quiet or now - self._updated < SECONDS_BETWEEN_UPDATES or not sys.stderr.isatty():
            return
        self._updated = now
        if self._bar is None:
            self._start(source)
        self._bar.update(self._task, completed=frames, total=total, counts=counts)

    @contextlib.contextmanager
    def bar(self, label: str) -> Iterator[Callable[[float], None]]:
        """Show a progress bar if stderr is a terminal; yields a function that takes the fraction done, 0 to 1."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda fraction: None
            return
        from rich.console import Console as RichConsole
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = TextColumn(escape(one_line(label))), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with Progress(*columns, console=RichConsole(stderr=True), transient=True) as shown:
            task = shown.add_task("", total=1.0)
            yield lambda fraction: shown.update(task, completed=fraction)

    def _start(self, source: str) -> None:
        from rich.console import Console as RichConsole
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn(escape(one_line(source))),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=RichConsole(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=None, counts="")
        self._bar.start()

    def clear(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def summary(self, lines: Iterable[str], record: dict[str, Any]) -> None:
        """Print the summary of one input.

        Args:
            lines: The summary as text.
            record: The summary as data, for JSON Lines.
        """
        self.clear()
        if self.as_json:
            write_json_record(record)
        elif not self.quiet:
            for line in lines:
                _print(line)


def _in_foreground() -> bool:
    """Return whether this process may read from the terminal, which stops those in the background."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError):  # Windows, which has no such groups; or a terminal that does not control them
        return True


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # stderr may be closed
        sys.stderr.write(one_line(without_secrets(line)) + "\n")
        sys.stderr.flush()
