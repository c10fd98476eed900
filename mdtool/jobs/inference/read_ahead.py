"""Reads inputs ahead of who asks about them, several at once, so that a model need not wait."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from mdtool.errors import ReadTimeout
from mdtool.interruption import raise_if_interrupted
from mdtool.pipeline.stages import POLL_SECONDS, Idle, prefetch_with_idle

GRACE_SECONDS = (
    0.05  # seconds for which those who have other work wait for an item: most come sooner than a step is done
)
READERS = min(4, max(2, os.cpu_count() or 2))
I = TypeVar("I")  # noqa: E741  an item
V = TypeVar("V")


class PollTimeout:
    """How long a source lets who takes its items wait, before it says that there is none yet.

    has_other_work: there is other work; then it is GRACE_SECONDS in all, until an item comes.
    """

    has_other_work = False
    _since: float | None = None  # when an item was first waited for in vain

    def reset(self) -> None:
        """An item has come."""
        self._since = None

    def seconds(self) -> float:
        if not self.has_other_work:
            self._since = None
            return POLL_SECONDS
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return max(0.0, self._since + GRACE_SECONDS - now)


@dataclass
class ReadResult(Generic[I, V]):
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
    items: Iterable[I | Idle],
    read: Callable[[I], V],
    depth: int,
    *,
    timeout: float | None = None,
    poll_timeout: PollTimeout | None = None,
) -> Generator[ReadResult[I, V] | None]:
    """What `read` makes of the items, in their order; made by several threads.

    None comes whenever there is nothing yet, as soon as patience has it. Items may be an Idle, where there is none yet.
    depth: how many are read and wait. timeout: seconds that reading one may take; it is then given up as ReadTimeout.
    """
    wait = (poll_timeout or PollTimeout()).seconds
    todo: SimpleQueue[ReadResult[I, V] | None] = SimpleQueue()

    def work() -> None:
        while attempt := todo.get():
            attempt.make(read)

    def begin_work() -> None:
        threading.Thread(target=work, name="reader", daemon=True).start()

    def row() -> Iterator[ReadResult[I, V] | Idle]:
        for item in items:
            if isinstance(item, Idle):
                yield item
                continue
            attempt: ReadResult[I, V] = ReadResult(item)
            todo.put(attempt)
            yield attempt

    for _ in range(READERS):
        begin_work()
    try:
        with closing(prefetch_with_idle(row(), depth, wait=wait)) as attempts:
            for attempt in attempts:
                if isinstance(attempt, Idle):
                    yield None
                    continue
                while not attempt.ended.wait(wait()):
                    raise_if_interrupted()
                    if timeout and attempt.begun and time.monotonic() - attempt.begun > timeout:
                        begin_work()  # in place of the one that may be stuck for ever
                        attempt = ReadResult(attempt.item, error=ReadTimeout(timeout))
                        break
                    yield None
                yield attempt
    finally:
        for _ in range(READERS):
            todo.put(None)
