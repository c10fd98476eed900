"""Reads inputs ahead of who asks about them, several at once, so that a model need not wait."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from mdtool.errors import TooSlow
from mdtool.interruption import check_not_ending
from mdtool.pipeline.stages import POLL_SECONDS, Pause, ahead_with_pauses

GRACE = 0.05  # seconds for which those who have other work wait for an item: most come sooner than a step is done
READERS = min(4, max(2, os.cpu_count() or 2))
I = TypeVar("I")  # noqa: E741  an item
V = TypeVar("V")


class Patience:
    """How long a source lets who takes its items wait, before it says that there is none yet.

    is_short: there is other work; then it is GRACE in all, until an item comes.
    """

    is_short = False
    _since: float | None = None  # when an item was first waited for in vain

    def renew(self) -> None:
        """An item has come."""
        self._since = None

    def seconds(self) -> float:
        if not self.is_short:
            self._since = None
            return POLL_SECONDS
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return max(0.0, self._since + GRACE - now)


@dataclass
class Attempt(Generic[I, V]):
    """What came of reading an item: a value or an error. begun: on the clock of `time.monotonic`; None: not yet."""

    item: I
    value: V | None = None
    error: Exception | None = None
    begun: float | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def make(self, read: Callable[[I], V]) -> None:
        self.begun = time.monotonic()
        try:
            self.value = read(self.item)
        except Exception as error:  # be it a fault of ours or of a library: the other inputs go on
            self.error = error
        self.ended.set()


def read_ahead(
    items: Iterable[I | Pause],
    read: Callable[[I], V],
    depth: int,
    *,
    timeout: float | None = None,
    patience: Patience | None = None,
) -> Generator[Attempt[I, V] | None]:
    """What `read` makes of the items, in their order; made by several threads.

    None comes whenever there is nothing yet, as soon as patience has it. Items may be a Pause, where there is none yet.
    depth: how many are read and wait. timeout: seconds that reading one may take; it is then given up as TooSlow.
    """
    wait = (patience or Patience()).seconds
    todo: SimpleQueue[Attempt[I, V] | None] = SimpleQueue()

    def work() -> None:
        while attempt := todo.get():
            attempt.make(read)

    def begin_work() -> None:
        threading.Thread(target=work, name="reader", daemon=True).start()

    def row() -> Iterator[Attempt[I, V] | Pause]:
        for item in items:
            if isinstance(item, Pause):
                yield item
                continue
            attempt: Attempt[I, V] = Attempt(item)
            todo.put(attempt)
            yield attempt

    for _ in range(READERS):
        begin_work()
    try:
        with closing(ahead_with_pauses(row(), depth, wait=wait)) as attempts:
            for attempt in attempts:
                if isinstance(attempt, Pause):
                    yield None
                    continue
                while not attempt.ended.wait(wait()):
                    check_not_ending()
                    if timeout and attempt.begun and time.monotonic() - attempt.begun > timeout:
                        begin_work()  # in place of the one that may be stuck for ever
                        attempt = Attempt(attempt.item, error=TooSlow(timeout))
                        break
                    yield None
                yield attempt
    finally:
        for _ in range(READERS):
            todo.put(None)
