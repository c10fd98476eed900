"""Standard input and output as PyAV wants them, which takes no error well that comes out of a file of Python's."""

import os
import select
import sys
from collections.abc import Callable
from typing import BinaryIO

from mdtool.interruption import INTERRUPT_EVENT

POLL_SECONDS = 0.1
CAN_WAIT = sys.platform != "win32"  # Windows waits for sockets only; there a read is not interrupted
AT_ONCE: int = getattr(select, "PIPE_BUF", 512)  # bytes that are written without blocking, where there is room for any


class PipeReader:
    """The bytes of a file descriptor that can't be sought in, read so that the program can end while none come."""

    def __init__(self, descriptor: int, ended: Callable[[], bool] = INTERRUPT_EVENT.is_set) -> None:
        """ended: tells that nobody waits for more, which is then the end."""
        self._descriptor = descriptor
        self._ended = ended
        self._peeked = b""

    def peek(self, size: int) -> bytes:
        """The first bytes, which are read again later; fewer only if there are no more."""
        while len(self._peeked) < size and (more := self._next(size - len(self._peeked))):
            self._peeked += more
        return self._peeked[:size]

    def read(self, size: int = -1) -> bytes:
        """What has come, up to `size` bytes, nothing at the end; with no size all there is."""
        if size < 0:
            parts = [self.read(1 << 20)]
            while parts[-1]:
                parts.append(self.read(1 << 20))
            return b"".join(parts)
        if self._peeked:
            peeked, self._peeked = self._peeked[:size], self._peeked[size:]
            return peeked
        return self._next(size)

    def _next(self, size: int) -> bytes:
        while CAN_WAIT and not select.select([self._descriptor], [], [], POLL_SECONDS)[0]:
            if self._ended():
                return b""
        return os.read(self._descriptor, size)


class PipeWriter:
    """Takes bytes for standard output. What goes wrong is kept in `error`, and nothing is written any more."""

    def __init__(self, file: BinaryIO) -> None:
        file.flush()
        self._descriptor = file.fileno()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                if not CAN_WAIT or select.select([], [self._descriptor], [], POLL_SECONDS)[1]:
                    rest = rest[os.write(self._descriptor, rest[:AT_ONCE]) :]
                elif INTERRUPT_EVENT.is_set():
                    self.error = InterruptedError()
            except OSError as error:
                self.error = error
        return len(data)

    def check(self) -> None:
        """Raises what went wrong."""
        if self.error:
            raise self.error
