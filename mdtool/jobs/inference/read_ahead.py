"""Reads pictures ahead of who asks about them, several at once, so that a model need not wait."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from queue import SimpleQueue

from mdtool.errors import TooSlow
from mdtool.interruption import check_not_ending
from mdtool.jobs.inference.image_input import Shot
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.stages import POLL_SECONDS, Pause, ahead_with_pauses

READERS = min(4, max(2, os.cpu_count() or 2))


class _Slot:
    """A place in the row for one input, filled when it was read."""

    def __init__(self, source: Input) -> None:
        self.source = source
        self.begun: float | None = None
        self.full = threading.Event()
        self.shot: Shot | None = None

    def fill(self, read: Callable[[Input], Shot]) -> None:
        self.begun = time.monotonic()
        try:
            self.shot = read(self.source)
        except Exception as error:  # be it a fault of ours or of a library: the other inputs go on
            self.shot = Shot(self.source, error=error)
        self.full.set()


def read_ahead(
    sources: Iterable[Input], read: Callable[[Input], Shot], depth: int, timeout: float | None = None
) -> Generator[Shot | None]:
    """What `read` makes of the sources, or the error that it raised, in their order; made by several threads.

    None comes whenever there is nothing yet. depth: how many are read and wait. timeout: seconds that reading one may
    take; it is then given up as TooSlow.
    """
    todo: SimpleQueue[_Slot | None] = SimpleQueue()

    def work() -> None:
        while slot := todo.get():
            slot.fill(read)

    def begin_work() -> None:
        threading.Thread(target=work, name="reader", daemon=True).start()

    def row() -> Iterator[_Slot]:
        for source in sources:
            slot = _Slot(source)
            todo.put(slot)
            yield slot

    for _ in range(READERS):
        begin_work()
    try:
        with closing(ahead_with_pauses(row(), depth)) as slots:
            for slot in slots:
                if isinstance(slot, Pause):
                    yield None
                    continue
                while not slot.full.wait(POLL_SECONDS):
                    check_not_ending()
                    if timeout and slot.begun and time.monotonic() - slot.begun > timeout:
                        begin_work()  # in place of the one that may be stuck for ever
                        slot.shot = Shot(slot.source, error=TooSlow(timeout))
                        break
                    yield None
                yield slot.shot
    finally:
        for _ in range(READERS):
            todo.put(None)
