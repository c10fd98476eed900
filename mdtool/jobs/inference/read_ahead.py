"""Reads inputs ahead in several threads, so that the model does not wait for them (prefetching)."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from mdtool.errors import ReadTimeout, library_faults
from mdtool.interruption import raise_if_interrupted
from mdtool.memory import Turn, Turns
from mdtool.pipeline.stages import POLL_SECONDS, Idle, prefetch_with_idle

GRACE_SECONDS = 0.05  # for which a consumer with other work waits: most items come sooner than a step takes
READERS = min(4, max(2, os.cpu_count() or 2))
I = TypeVar("I")  # noqa: E741  an item
V = TypeVar("V")  # its value


class PollTimeout:
    """How long a consumer waits for an item before it continues without one.

    Attributes:
        has_other_work: The consumer has other work; it then waits GRACE_SECONDS in all between two items.
    """

    has_other_work = False
    _since: float | None = None  # start of the current wait

    def reset(self) -> None:
        """Start again, after an item came."""
        self._since = None

    def seconds(self) -> float:
        """Return the seconds to wait from now on."""
        if not self.has_other_work:
            self._since = None
            return POLL_SECONDS
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return max(0.0, self._since + GRACE_SECONDS - now)


@dataclass
class ReadResult(Generic[I, V]):
    """The value of an item that was read, or the error.

    Attributes:
        turn: Its turn to get memory.
        started: When reading began, on the clock of `time.monotonic`; None: it has not.
        ended: Set when reading has ended.
    """

    item: I
    turn: Turn
    value: V | None = None
    error: Exception | None = None
    started: float | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, read: Callable[[I], V]) -> None:
        """Read the item, and store the value or the error."""
        self.started = time.monotonic()
        try:
            with self.turn.taken(), library_faults():
                self.value = read(self.item)
        except Exception as error:  # whatever its cause, the other inputs go on
            self.error = error
        self.ended.set()

    def takes_longer_than(self, seconds: float) -> bool:
        """Return whether reading it takes longer; waiting for memory does not count."""
        if self.turn.waits:
            self.started = time.monotonic()
        return self.started is not None and time.monotonic() - self.started > seconds


def read_ahead(
    items: Iterable[I | Idle],
    read: Callable[[I], V],
    depth: int,
    *,
    timeout: float | None = None,
    poll_timeout: PollTimeout | None = None,
) -> Generator[ReadResult[I, V] | None]:
    """Call `read` on items in several threads.

    Args:
        items: An Idle means that no item is ready yet.
        read: Called in the reader threads.
        depth: Number of items that are read ahead.
        timeout: Seconds that reading one item may take; after them its result is a ReadTimeout.
        poll_timeout: How long to wait for a result before yielding None.

    Yields:
        Results in the order of the items; None while the next one is not ready.
    """
    poll_timeout, turns = poll_timeout or PollTimeout(), Turns()
    wait = poll_timeout.seconds
    queue: SimpleQueue[ReadResult[I, V] | None] = SimpleQueue()

    def work() -> None:
        with suppress(KeyboardInterrupt):  # of a read that polls for it; who waits for its result does so too
            while result := queue.get():
                result.run(read)
                del result  # and its memory, which this thread would hold until the next one comes

    def start_reader() -> None:
        threading.Thread(target=work, name="reader", daemon=True).start()

    def enqueued() -> Iterator[ReadResult[I, V] | Idle]:
        for item in items:
            if isinstance(item, Idle):
                yield item
                continue
            result: ReadResult[I, V] = ReadResult(item, turns.next())
            queue.put(result)
            yield result

    for _ in range(READERS):
        start_reader()
    try:
        with closing(prefetch_with_idle(enqueued(), depth, wait=wait)) as results:
            for result in results:
                if isinstance(result, Idle):
                    yield None
                    continue
                while not result.ended.wait(wait()):
                    raise_if_interrupted()
                    result.turn.urgent = not poll_timeout.has_other_work
                    if timeout and result.takes_longer_than(timeout):
                        start_reader()  # the one that timed out may be stuck forever
                        result.turn.end()
                        result = ReadResult(result.item, result.turn, error=ReadTimeout(timeout))
                        break
                    yield None
                yield result
                del result  # and its memory
    finally:
        turns.close()
        for _ in range(READERS):
            queue.put(None)
