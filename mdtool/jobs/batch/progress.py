"""Reports the progress of a batch on stderr: a bar on a terminal, else a line a minute, or JSON Lines."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from mdtool.console import Console

ProgressFormat = Literal["auto", "json"]
SECONDS_BETWEEN = {"bar": 0.1, "lines": 60.0, "json": 1.0}


@dataclass
class Progress:
    """Counters of a batch, and how they are shown.

    Attributes:
        count: Returns the number of inputs, which may take a while; None: it can't be known.
        processed: Inputs that this run finished.
        failed: Inputs that failed in this run.
        skipped: Inputs that were already done.
        redone: Inputs that were run again since their worker was lost, counted each time.
        wait_seconds: Time for which the model waited for input.
        total: Number of inputs; None while it isn't known.
        started: When the batch started, on the clock of `time.monotonic`.
        ended: When it ended; None while it runs.
    """

    console: Console
    form: ProgressFormat = "auto"
    count: Callable[[], int] | None = None
    processed: int = 0
    failed: int = 0
    skipped: int = 0
    redone: int = 0
    wait_seconds: float = 0.0
    total: int | None = None
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    _skip_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        on_terminal = sys.stderr.isatty()
        self._kind = "json" if self.form == "json" else "bar" if on_terminal else "lines"
        self._last_update = self.started
        self._bar: Any = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress while this context lasts, whenever `tick` is called."""
        if self.count and (self._kind == "json" or not self.console.quiet):
            threading.Thread(target=self._count, name="counter", daemon=True).start()
        try:
            yield
        finally:
            self.ended = time.monotonic()
            if self._bar:
                self._bar.stop()
            if self._kind == "json":
                self._put_json()

    def _count(self) -> None:
        assert self.count
        with suppress(Exception):  # errors in the inputs are reported where they are read
            self.total = self.count()

    def skip(self) -> None:
        """Count an input that was already done. May be called from any thread."""
        with self._skip_lock:
            self.skipped += 1

    def tick(self) -> None:
        """Update what is shown, if the last update is long enough ago."""
        now = time.monotonic()
        if (self.console.quiet and self._kind != "json") or now - self._last_update < SECONDS_BETWEEN[self._kind]:
            return
        self._last_update = now
        if self._kind == "json":
            self._put_json()
        elif self._kind == "lines":
            self.console.note(self._line())
        else:
            self._show_bar()

    @property
    def inputs(self) -> int:
        """Inputs that were listed and have ended."""
        return self.processed + self.failed + self.skipped

    @property
    def seconds(self) -> float:
        """Seconds since the start, up to the end."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def rate(self) -> float:
        """Inputs per second."""
        return (self.processed + self.failed) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds that remain; None if they can't be estimated."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.inputs) / self.rate

    def summary(self) -> str:
        """Return the summary of a finished batch, in one line."""
        parts = [f"{self.processed} processed"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.skipped} already done"] if self.skipped else []
        parts += [f"{self.redone} redone"] if self.redone else []
        parts += [f"{self.seconds:.1f} s", f"{self.rate:.1f} inputs/s"]
        parts += [f"{self.wait_seconds / self.seconds:.1%} of the time waiting for input"] if self.seconds else []
        return ", ".join(parts)

    def _line(self) -> str:
        done = self.inputs
        parts = [f"{done} of {self.total}" if self.total is not None else f"{done} done", f"{self.rate:.1f} inputs/s"]
        parts += [f"{_format_duration(self.seconds_left)} left"] if self.seconds_left is not None else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return ", ".join(parts)

    def _put_json(self) -> None:
        status = {
            "asked": self.processed, "failed": self.failed, "before": self.skipped, "redone": self.redone,
            "total": self.total,
            "seconds": round(self.seconds, 1), "rate": round(self.rate, 2),
            "left": None if self.seconds_left is None else round(self.seconds_left),
            "waited": round(self.wait_seconds, 1),
        }  # fmt: skip
        with suppress(OSError):  # stderr may be closed
            print(json.dumps(status), file=sys.stderr, flush=True)

    def _show_bar(self) -> None:
        if self._bar is None:
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = BarColumn(), TextColumn("{task.description}")
            self._bar = Bar(*columns, console=RichConsole(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        self._bar.update(self._task, description=self._line(), completed=self.inputs, total=self.total)


def _format_duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes - 60 * hours} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
