"""Ctrl-C in a conversation on a terminal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Cancellation:
    """Handles Ctrl-C: during an answer it ends the answer, elsewhere it raises KeyboardInterrupt.

    An answer is not ended by an exception, which could leave the cache of the conversation in any state.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._answering = False

    def is_cancelled(self) -> bool:
        """Whether Ctrl-C was pressed during this answer."""
        return self._event.is_set()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle Ctrl-C so."""
        earlier = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, earlier)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Let Ctrl-C end an answer."""
        self._event.clear()
        self._answering = True
        try:
            yield
        finally:
            self._answering = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._answering:
            raise KeyboardInterrupt
        self._event.set()
