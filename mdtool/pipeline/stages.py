"""Stages that run side by side, each in a thread of its own, with a bounded queue behind it."""

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Generic, TypeVar

from mdtool.errors import ReadTimeout
from mdtool.interruption import raise_if_interrupted

T = TypeVar("T")
POLL_SECONDS = 0.1  # how soon a stage that waits for room sees that nobody wants more


class _End(Generic[T]):
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(items: Iterable[T], depth: int, timeout: float | None = None) -> Generator[T]:
    """The same items, made in another thread up to `depth` ahead of who takes them.

    What `items` raises is raised here, in its place. Closing this iterator stops and closes `items`. timeout: seconds
    that making one may take; ReadTimeout is raised then, and the other thread is left to itself, with all that it uses.
    """
    with closing(prefetch_with_idle(items, depth, timeout)) as made:
        for item in made:
            if not isinstance(item, Idle):
                yield item


class Idle:
    """Nothing has come for a while."""


def prefetch_with_idle(
    items: Iterable[T | Idle],
    depth: int,
    timeout: float | None = None,
    wait: Callable[[], float] = lambda: POLL_SECONDS,
) -> Generator[T | Idle]:
    """As `prefetch`, and tells whenever nothing has come for `wait()` seconds.

    Items may be an Idle, where there is work but no result.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()
    is_stuck, begun = False, time.monotonic()

    def put(item: "T | Idle | _End") -> bool:
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
        nonlocal begun
        if stopped.is_set():
            return
        end: _End = _End()
        source = iter(items)
        try:
            for item in source:
                if not put(item):
                    break
                begun = time.monotonic()
        except BaseException as error:
            end = _End(error)
        finally:
            close = getattr(source, "close", None)
            if close:
                close()
            put(end)

    thread = threading.Thread(target=run, name="stage", daemon=True)
    try:
        thread.start()
        asked = time.monotonic()
        while True:
            try:
                item = ready.get(timeout=wait())
            except queue.Empty:
                raise_if_interrupted()
                if timeout and time.monotonic() - max(begun, asked) > timeout:
                    is_stuck = True
                    raise ReadTimeout(timeout) from None
                yield Idle()
                continue
            if isinstance(item, _End):
                if item.error:
                    raise item.error
                return
            yield item
            asked = time.monotonic()
    finally:
        stopped.set()
        if not is_stuck:
            with suppress(RuntimeError):  # interrupted before it began; it will do nothing
                thread.join()


class Stopwatch:
    """Seconds of work in each stage, waiting not counted."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin

    def each(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time it takes to make each of them."""
        source = iter(items)
        while True:
            with self.time(stage):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item
