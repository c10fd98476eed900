"""Draws requests on a thread of their own, so that who waits for the next, or encodes its picture, stalls no others."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")

GRACE = 0.05  # seconds that one item is waited for where others could go on: most sources are quicker than a step
JOIN = 2.0  # seconds that closing waits for an item which is being drawn


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


class RequestSource(Generic[T]):
    """Items are drawn one at a time, each once it is asked for. None is no item."""

    def __init__(self, items: Iterable[T]) -> None:
        self.ended = False
        self._asked: float | None = None  # when the item that is being drawn was asked for
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._drawn: SimpleQueue[T | _End] = SimpleQueue()
        self._thread = Thread(target=_draw, args=(items, self._wanted, self._drawn), name="requests", daemon=True)
        self._thread.start()

    def get(self, wait: bool) -> T | None:
        """The next item; None at the end, or without `wait` if it has not come GRACE after it was first asked for.

        Raises what drawing it raised.
        """
        if self._asked is None:
            self._asked = time.monotonic()
            self._wanted.put(True)
        try:
            drawn = self._drawn.get(timeout=None if wait else max(0.0, self._asked + GRACE - time.monotonic()))
        except Empty:
            return None
        self._asked = None
        if not isinstance(drawn, _End):
            return drawn
        self.ended = True
        if drawn.error:
            raise drawn.error
        return None

    def close(self) -> None:
        """The thread closes the iterable. One that does not give its next item within JOIN is left to itself."""
        self._wanted.put(False)
        self._thread.join(JOIN)


def _draw(items: Iterable[T], wanted: SimpleQueue[bool], drawn: SimpleQueue[T | _End]) -> None:
    end = _End()
    if torch := sys.modules.get("torch"):  # is not imported for models that do without it
        torch.get_num_threads()  # when this is first asked, torch gives a thread the number set for the process
    try:
        source = iter(items)
        try:
            while wanted.get():
                drawn.put(next(source))
        except StopIteration:
            pass
        finally:
            if close := getattr(source, "close", None):
                close()
    except BaseException as error:
        end = _End(error)
    drawn.put(end)
