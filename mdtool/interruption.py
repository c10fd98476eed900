"""Interruption by a signal, polled rather than raised.

Python raises KeyboardInterrupt wherever the main thread happens to be, which may leave files that threads use in any
state. Within `deferred_interrupts` a signal therefore only sets an event, which the threads poll with
`raise_if_interrupted`.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from mdtool.errors import ExitCode

INTERRUPT_EVENT = threading.Event()
_deferred = threading.Event()


def interrupt() -> None:
    """Handle a signal: set the event, and raise KeyboardInterrupt unless the event is polled."""
    INTERRUPT_EVENT.set()
    if _deferred.is_set():
        return
    if _is_importing("torch"):  # its C++ code, which imports modules too, aborts the process if one raises
        quit_at_once()
    raise KeyboardInterrupt


def quit_at_once(*_: Any) -> NoReturn:
    """Handle a signal where nothing can be raised: end the process with one line."""
    with suppress(OSError):
        os.write(2, b"mdtool: interrupted\n")
    os._exit(ExitCode.INTERRUPTED)


def _is_importing(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))  # as the import system itself knows it


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt if the run was interrupted."""
    if INTERRUPT_EVENT.is_set():
        raise KeyboardInterrupt


def ignore_lost_interrupt(lost: Any) -> None:
    """Handle sys.unraisablehook: ignore a KeyboardInterrupt lost in a callback from C, since INTERRUPT_EVENT is set."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Poll for interruptions: the code within calls `raise_if_interrupted` several times per second."""
    outside = _deferred.is_set()
    _deferred.set()
    try:
        raise_if_interrupted()
        yield
    finally:
        if not outside:
            _deferred.clear()
    raise_if_interrupted()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Raise an interruption after the block, not within it: for what takes no longer than a sync to the disk."""
    if threading.current_thread() is not threading.main_thread() or _deferred.is_set():
        yield  # in which nothing is raised anyway
        return
    _deferred.set()
    try:
        yield
    finally:
        _deferred.clear()
    raise_if_interrupted()
