"""Iterates over requests in a background thread, so that a slow iterable stalls no sequence under way."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from engine.torch_threads import apply_number_of_threads

T = TypeVar("T")

GRACE = 0.05  # seconds to wait for an item while other sequences could go on: most sources are faster than a step
JOIN = 2.0  # seconds that `close` waits for an item being produced


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


class RequestSource(Generic[T]):
    """Takes items from an iterable in a background thread, one at a time, each on request. No item may be None.

    Attributes:
        ended: Whether the iterable is exhausted or has failed.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self.ended = False
        self._requested_at: float | None = None  # of the item being produced, in seconds
        self._go_on: SimpleQueue[bool] = SimpleQueue()  # True: the next item; False: close
        self._items: SimpleQueue[T | _End] = SimpleQueue()
        self._thread = Thread(target=_produce, args=(items, self._go_on, self._items), name="requests", daemon=True)
        self._thread.start()

    def get(self, wait: bool) -> T | None:
        """Return the next item.

        Args:
            wait: Block until it comes; else return None if it has not come GRACE after it was first requested.

        Returns:
            The item; None at the end.

        Raises:
            BaseException: What the iterable raised.
        """
        if self._requested_at is None:
            self._requested_at = time.monotonic()
            self._go_on.put(True)
        try:
            item = self._items.get(timeout=None if wait else max(0.0, self._requested_at + GRACE - time.monotonic()))
        except Empty:
            return None
        self._requested_at = None
        if not isinstance(item, _End):
            return item
        self.ended = True
        if item.error:
            raise item.error
        return None

    def close(self) -> None:
        """Close the iterable in its thread; leave behind one that does not return its next item within JOIN."""
        self._go_on.put(False)
        self._thread.join(JOIN)


def _produce(items: Iterable[T], go_on: SimpleQueue[bool], output: SimpleQueue[T | _End]) -> None:
    end = _End()
    apply_number_of_threads()
    try:
        source = iter(items)
        try:
            while go_on.get():
                output.put(next(source))
        except StopIteration:
            pass
        finally:
            if close := getattr(source, "close", None):
                close()
    except BaseException as error:
        end = _End(error)
    output.put(end)
