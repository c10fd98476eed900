"""What the person is told while work goes on: progress on a terminal, one line an input, all of it on stderr."""

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mdtool.errors import UsageError
from mdtool.stdout import write_json_record

SECONDS_BETWEEN_UPDATES = 0.1
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # could command a terminal


class Console:
    """quiet: only errors; as_json: summaries go to stdout as JSON Lines instead of lines on stderr.

    verbose: what explains itself is told too; UsageError together with quiet.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False, verbose: bool = False) -> None:
        if quiet and verbose:
            raise UsageError("--verbose: does not go together with --quiet")
        self.quiet = quiet
        self.as_json = as_json
        self.verbose = verbose
        self._bar: Any = None
        self._task: Any = None
        self._updated = 0.0

    def error(self, message: str) -> None:
        self.clear()
        _print(f"mdtool: {message}")

    def note(self, message: str) -> None:
        if not self.quiet:
            self.clear()
            _print(f"mdtool: {message}")

    def explain(self, message: str) -> None:
        if self.verbose:
            self.note(message)

    def progress(self, source: str, frames: int, total: int | None, counts: str) -> None:
        """Moves the bar of a source, which there is only if stderr is a terminal.

        frames: that are done, of a total that may not be known. counts: what was found up to here, in words.
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
        """Gives what is to be told how much is done, 0..1, for a bar that there is only if stderr is a terminal."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda share: None
            return
        from rich.console import Console as RichConsole
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = TextColumn(escape(label)), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with Progress(*columns, console=RichConsole(stderr=True), transient=True) as shown:
            task = shown.add_task("", total=1.0)
            yield lambda share: shown.update(task, completed=share)

    def _start(self, source: str) -> None:
        from rich.console import Console as RichConsole
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn(escape(source)),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=RichConsole(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=None, counts="")
        self._bar.start()

    def clear(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def summary(self, lines: Iterable[str], record: dict[str, Any]) -> None:
        """What was done to one input: lines for a person, or the record, as the summaries go."""
        self.clear()
        if self.as_json:
            write_json_record(record)
        elif not self.quiet:
            for line in lines:
                _print(line)


def one_line(text: str) -> str:
    """The text with escapes for what would break a line, command a terminal, or is no text (as names may hold)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may listen
        sys.stderr.write(one_line(line) + "\n")
        sys.stderr.flush()
