"""File objects for pipes that PyAV can read and write: interruptible, and without exceptions in its callbacks."""

import os
import select
import sys
from collections.abc import Callable
from typing import BinaryIO

from mdtool.interruption import INTERRUPT_EVENT

POLL_SECONDS = 0.1
CAN_WAIT = sys.platform != "win32"  # Windows waits for sockets only; there a read is not interrupted
AT_ONCE: int = getattr(select, "PIPE_BUF", 512)  # bytes that are written without blocking, where there is room for any
HEAD_BYTES = 68 << 10  # a run-in of an MXF file, or long tags, and what follows them


class PipeReader:
    """A reader of a file descriptor that can't be seeked, which never blocks an interruption.

    Attributes:
        head: The first bytes of what has arrived so far, up to HEAD_BYTES.
        length: Number of bytes that have arrived so far.
    """

    def __init__(self, descriptor: int, should_stop: Callable[[], bool] = INTERRUPT_EVENT.is_set) -> None:
        """Wrap an open descriptor.

        Args:
            descriptor: The file descriptor to read.
            should_stop: Polled while no data arrives; True ends the stream.
        """
        self._descriptor = descriptor
        self._should_stop = should_stop
        self._peeked = b""
        self.head = b""
        self.length = 0

    def peek(self, size: int) -> bytes:
        """Return the next bytes without consuming them; fewer than `size` only at the end."""
        while len(self._peeked) < size and (more := self._next(size - len(self._peeked))):
            self._peeked += more
        return self._peeked[:size]

    def read(self, size: int = -1) -> bytes:
        """Return what is available, up to `size` bytes, or all until the end if `size` is negative; b"" at the end."""
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
            if self._should_stop():
                return b""
        data = os.read(self._descriptor, size)
        self.head += data[: HEAD_BYTES - len(self.head)]
        self.length += len(data)
        return data


class PipeWriter:
    """A writer to a pipe. After an error, which is stored in `error`, it discards what it gets."""

    def __init__(self, file: BinaryIO, copy: BinaryIO | None = None) -> None:
        """Wrap an open file.

        Args:
            file: The file.
            copy: Gets a copy of all that is written, if any.
        """
        file.flush()
        self._descriptor = file.fileno()
        self._copy = copy
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all bytes, polling for interruption. It never raises: see `check`."""
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                if not CAN_WAIT or select.select([], [self._descriptor], [], POLL_SECONDS)[1]:
                    rest = rest[os.write(self._descriptor, rest[:AT_ONCE]) :]
                elif INTERRUPT_EVENT.is_set():
                    self.error = InterruptedError()
            except OSError as error:
                self.error = error
        if self._copy and self.error is None:
            try:
                self._copy.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def check(self) -> None:
        """Raise the error of an earlier `write`, if any.

        Raises:
            OSError: The pipe is closed or can't be written.
        """
        if self.error:
            raise self.error
