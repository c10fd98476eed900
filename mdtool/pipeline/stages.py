"""Pipeline stages: iterators that run in threads of their own, connected by bounded queues."""

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

from mdtool.errors import ReadTimeout
from mdtool.interruption import raise_if_interrupted

T = TypeVar("T")
POLL_SECONDS = 0.1  # how soon a stage that waits for room notices that its consumer has stopped


class _EndOfItems:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(items: Iterable[T], depth: int, timeout: float | None = None) -> Generator[T]:
    """Iterate over items that another thread produces ahead of time.

    Errors of `items` are raised here, in order. Closing this iterator stops and closes `items`.

    Args:
        items: Iterated in the other thread.
        depth: Most items that wait in the queue.
        timeout: Seconds that one item may take; None for no limit.

    Raises:
        ReadTimeout: An item takes too long; the other thread keeps running, with all that it uses.
    """
    with closing(prefetch_with_idle(items, depth, timeout)) as prefetched:
        for item in prefetched:
            if not isinstance(item, Idle):
                yield item


class Idle:
    """Marks that no item came for a while."""


def prefetch_with_idle(
    items: Iterable[T | Idle],
    depth: int,
    timeout: float | None = None,
    wait: Callable[[], float] = lambda: POLL_SECONDS,
) -> Generator[T | Idle]:
    """Iterate like `prefetch`, with an `Idle` whenever no item came for a while.

    Args:
        items: Iterated in the other thread; it may yield Idle where it made progress without a result.
        depth: Most items that wait in the queue.
        timeout: See `prefetch`.
        wait: Returns the seconds without an item after which to yield Idle.

    Raises:
        ReadTimeout: See `prefetch`.
    """
    ready: queue.Queue[T | _EndOfItems] = queue.Queue(depth)
    stopped = threading.Event()
    timed_out, last_made = False, time.monotonic()

    def put(item: T | Idle | _EndOfItems) -> bool:
        if isinstance(item, Idle):
            return not stopped.is_set()
        while not stopped.is_set():
            try:
                ready.put(item, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        nonlocal last_made
        if stopped.is_set():
            return
        end: _EndOfItems = _EndOfItems()
        source = iter(items)
        try:
            for item in source:
                if not put(item):
                    break
                last_made = time.monotonic()
        except BaseException as error:
            end = _EndOfItems(error)
        finally:
            close = getattr(source, "close", None)
            if close:
                close()
            put(end)

    thread = threading.Thread(target=run, name="stage", daemon=True)
    try:
        thread.start()
        requested = time.monotonic()
        while True:
            try:
                item = ready.get(timeout=wait())
            except queue.Empty:
                raise_if_interrupted()
                if timeout and time.monotonic() - max(last_made, requested) > timeout:
                    timed_out = True
                    raise ReadTimeout(timeout) from None
                yield Idle()
                continue
            if isinstance(item, _EndOfItems):
                if item.error:
                    raise item.error
                return
            yield item
            requested = time.monotonic()
    finally:
        stopped.set()
        if not timed_out:
            with suppress(RuntimeError):  # interrupted before the thread started
                thread.join()


class Stopwatch:
    """Adds up the seconds of work in each stage, without the time spent waiting for other stages."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure the time of a `with` block."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin

    def each(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Iterate over the items, measuring the time that it takes to produce each of them."""
        source = iter(items)
        while True:
            with self.time(stage):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item
