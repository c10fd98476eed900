"""The work queue of a batch: inputs that are not done yet, once, or as they appear in watched folders."""

import threading
import time
from collections.abc import Container, Iterator
from dataclasses import replace

from mdtool.errors import InputError, NoInputFound
from mdtool.interruption import INTERRUPT_EVENT
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.batch.side_outputs import OutputPathRegistry, SideOutputs
from mdtool.media.sources.discover import Selection, discover
from mdtool.media.sources.inputs import Input, State, file_state

WATCH_POLL_SECONDS = 1.0  # between scans for new files; a file must also be unchanged for this long


class WorkQueue:
    """Iterates over the inputs that are left to do, in one thread; `stop` ends the iteration from another.

    Attributes:
        incomplete: Inputs were left because the time was up.
    """

    def __init__(
        self,
        selection: Selection,
        sink: Sink,
        progress: Progress,
        outputs: SideOutputs,
        *,
        in_progress: Container[str],
        watch: bool = False,
        seconds: float | None = None,
    ) -> None:
        """Create a queue.

        Args:
            selection: Decides which inputs are due.
            sink: Receives the results.
            progress: Counts inputs.
            outputs: Each input reserves the paths of its side outputs in turn; one whose paths are taken has failed.
            in_progress: Names of inputs that were yielded and are not done.
            watch: Keep yielding files that appear or change, except those in progress.
            seconds: Time budget, after which no input is yielded.
        """
        self._selection = selection
        self._sink = sink
        self._progress = progress
        self._outputs, self._registry = outputs, OutputPathRegistry(outputs)
        self._in_progress = in_progress
        self._watch = watch
        self._seconds = seconds
        self._is_piped = selection.files_from is not None and not selection.files_from.is_file()
        self._listed: dict[str, State | None] = {}  # inputs that were listed, and the state of their files then
        self._stopped = threading.Event()
        self.incomplete = False

    def stop(self) -> None:
        """End the iteration. May be called from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Input]:
        yield from self._remaining()
        while self._watch and not self.is_late():
            self._stopped.wait(WATCH_POLL_SECONDS)
            if self._is_stopped():
                return
            yield from self._remaining()

    def _remaining(self) -> Iterator[Input]:
        try:
            for source in discover(self._selection, self._is_ending):
                if self._is_stopped():
                    return
                reserved = self._with_reserved_paths(source)
                if self._is_done(source):
                    continue
                if self.is_late():
                    self.incomplete = True
                    return
                yield reserved
            if self.is_late() and self._is_piped:
                self.incomplete = True  # more names may have come through the pipe
        except NoInputFound:
            if not self._watch and not self._is_ending():
                raise

    def _with_reserved_paths(self, source: Input) -> Input:
        try:
            self._registry.reserve(source)
        except InputError as error:
            return replace(source, failed=str(error))
        return source

    def _is_stopped(self) -> bool:
        return self._stopped.is_set() or INTERRUPT_EVENT.is_set()

    def _is_ending(self) -> bool:
        return self._is_stopped() or self.is_late()

    def is_late(self) -> bool:
        """Whether the time budget is used up."""
        return self._seconds is not None and self._progress.seconds > self._seconds

    def _is_done(self, source: Input) -> bool:
        state = file_state(source)
        if self._watch and state and 0 <= time.time_ns() - state[1] < WATCH_POLL_SECONDS * 1e9:
            return True  # it may still be being written, and is listed again
        if self._watch and source.name in self._in_progress:
            return True  # results of two versions must not mix; it is listed again
        if self._watch or self._selection.files_from:
            if source.name in self._listed and (not self._watch or self._listed[source.name] == state):
                return True  # it was listed before
            self._listed[source.name] = state
        entry = self._sink.entry(source.name)
        if not entry or not entry.whole or not state or state != entry.version.state:
            return False
        if entry.incomplete or not self._outputs.is_made(entry.made_outputs):
            return False
        self._progress.skip()
        return True
