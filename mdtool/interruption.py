"""How the program ends when the person interrupts it.

Python raises KeyboardInterrupt wherever the main thread happens to be. That tears threads away from the files they read
and write, so a job asks instead: within `deferred_interrupts`, an interruption is only noted, and whoever works
looks up often.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPT_EVENT = threading.Event()
_deferred = threading.Event()


def interrupt() -> None:
    """What a signal does. KeyboardInterrupt at once, where nobody looks."""
    INTERRUPT_EVENT.set()
    if not _deferred.is_set():
        raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    """KeyboardInterrupt if the person has interrupted."""
    if INTERRUPT_EVENT.is_set():
        raise KeyboardInterrupt


def ignore_lost_interrupt(lost: Any) -> None:
    """For sys.unraisablehook: a KeyboardInterrupt that is lost where C calls Python is not told; INTERRUPT_EVENT has
    it."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """What is done here calls `raise_if_interrupted`, several times a second."""
    outside = _deferred.is_set()
    _deferred.set()
    try:
        raise_if_interrupted()
        yield
    finally:
        if not outside:
            _deferred.clear()
    raise_if_interrupted()
