"""Stages that run side by side, each in a thread of its own, with a bounded queue behind it."""

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Generic, TypeVar

from mdtool.errors import TooSlow
from mdtool.interruption import check_not_ending

T = TypeVar("T")
POLL_SECONDS = 0.1  # how soon a stage that waits for room sees that nobody wants more


class _End(Generic[T]):
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int, timeout: float | None = None) -> Generator[T]:
    """The same items, made in another thread up to `depth` ahead of who takes them.

    What `items` raises is raised here, in its place. Closing this iterator stops and closes `items`. timeout: seconds
    that making one may take; TooSlow is raised then, and the other thread is left to itself, with all that it uses.
    """
    with closing(ahead_with_pauses(items, depth, timeout)) as made:
        for item in made:
            if not isinstance(item, Pause):
                yield item


class Pause:
    """Nothing has come for a while."""


def ahead_with_pauses(
    items: Iterable[T | Pause],
    depth: int,
    timeout: float | None = None,
    wait: Callable[[], float] = lambda: POLL_SECONDS,
) -> Generator[T | Pause]:
    """As `ahead`, and tells whenever nothing has come for `wait()` seconds.

    Items may be a Pause, where there is work but no result.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()
    is_stuck, begun = False, time.monotonic()

    def put(item: "T | Pause | _End") -> bool:
        if isinstance(item, Pause):
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
                check_not_ending()
                if timeout and time.monotonic() - max(begun, asked) > timeout:
                    is_stuck = True
                    raise TooSlow(timeout) from None
                yield Pause()
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
