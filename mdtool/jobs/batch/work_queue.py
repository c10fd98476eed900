"""What a batch has to do: all that is listed and not done yet, once, or as it appears."""

import threading
import time
from collections.abc import Container, Iterator
from dataclasses import replace

from mdtool.errors import InputError, NoInputFound
from mdtool.interruption import INTERRUPT_EVENT
from mdtool.jobs.batch.content_version import State, file_state
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.batch.side_outputs import OutputPathRegistry, SideOutputs
from mdtool.media.sources.discover import Selection, discover
from mdtool.media.sources.inputs import Input

WATCH_POLL_SECONDS = 1.0  # from one look for new files to the next, and for which a file must not have changed


class WorkQueue:
    """Iterate it, in any one thread; `stop` ends that from another.

    outputs: every input claims its places for them, in its turn; an input whose places are taken has failed.
    in_progress: names of inputs that have come, and are not done. watch: it goes on for files that appear or change,
    but not with one that is in progress. seconds: after which nothing is begun; `incomplete` tells if something was
    left.
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
        self._selection = selection
        self._sink = sink
        self._progress = progress
        self._outputs, self._claims = outputs, OutputPathRegistry(outputs)
        self._in_progress = in_progress
        self._watch = watch
        self._seconds = seconds
        self._is_piped = selection.files_from is not None and not selection.files_from.is_file()
        self._met: dict[str, State | None] = {}
        self._stopped = threading.Event()
        self.incomplete = False

    def stop(self) -> None:
        self._stopped.set()

    def __iter__(self) -> Iterator[Input]:
        yield from self._left()
        while self._watch and not self.is_late():
            self._stopped.wait(WATCH_POLL_SECONDS)
            if self._is_over():
                return
            yield from self._left()

    def _left(self) -> Iterator[Input]:
        try:
            for source in discover(self._selection, self._is_ending):
                if self._is_over():
                    return
                claimed = self._claimed(source)
                if self._is_done(source):
                    continue
                if self.is_late():
                    self.incomplete = True
                    return
                yield claimed
            if self.is_late() and self._is_piped:
                self.incomplete = True  # for more may have come
        except NoInputFound:
            if not self._watch and not self._is_ending():
                raise

    def _claimed(self, source: Input) -> Input:
        try:
            self._claims.reserve(source)
        except InputError as error:
            return replace(source, failed=str(error))
        return source

    def _is_over(self) -> bool:
        return self._stopped.is_set() or INTERRUPT_EVENT.is_set()

    def _is_ending(self) -> bool:
        return self._is_over() or self.is_late()

    def is_late(self) -> bool:
        return self._seconds is not None and self._progress.seconds > self._seconds

    def _is_done(self, source: Input) -> bool:
        state = file_state(source)
        if self._watch and state and 0 <= time.time_ns() - state[1] < WATCH_POLL_SECONDS * 1e9:
            return True  # for it may still be written; it is met again
        if self._watch and source.name in self._in_progress:
            return True  # so that what comes of one version is not mixed with another; it is met again
        if self._watch or self._selection.files_from:
            if source.name in self._met and (not self._watch or self._met[source.name] == state):
                return True  # it was listed before
            self._met[source.name] = state
        entry = self._sink.entry(source.name)
        if not entry or not entry.whole or not state or state != entry.version.state:
            return False
        if entry.incomplete or not self._outputs.is_made(entry.made_outputs):
            return False
        self._progress.skip()
        return True
