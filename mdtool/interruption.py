"""How the program ends when the person interrupts it.

Python raises KeyboardInterrupt wherever the main thread happens to be. That tears threads away from the files they read
and write, so a job asks instead: within `heeded`, an interruption is only noted, and whoever works looks up often.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = threading.Event()
_heeded = threading.Event()


def interrupt() -> None:
    """What a signal does. KeyboardInterrupt at once, where nobody looks."""
    ENDING.set()
    if not _heeded.is_set():
        raise KeyboardInterrupt


def check_not_ending() -> None:
    """KeyboardInterrupt if the person has interrupted."""
    if ENDING.is_set():
        raise KeyboardInterrupt


def tell_of_lost(lost: Any) -> None:
    """For sys.unraisablehook: a KeyboardInterrupt that is lost where C calls Python is not told; ENDING has it."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)


@contextmanager
def heeded() -> Iterator[None]:
    """What is done here calls `check_not_ending`, several times a second."""
    outside = _heeded.is_set()
    _heeded.set()
    try:
        check_not_ending()
        yield
    finally:
        if not outside:
            _heeded.clear()
    check_not_ending()
