"""Sockets that wait in short turns, so that an interruption is heard at once, and no longer than they may."""

import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from mdtool.errors import InputError
from mdtool.network.reach import POLL_SECONDS

BEGUN = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0))
SLOWEST, PATIENCE = 1000, 60.0  # bytes a second in the mean, which matters after so many seconds of waiting


class Wait:
    """How long one request may wait for its server.

    Time in which nobody waits is free: while a video is processed, or this process is stopped.

    Attributes:
        silent: Seconds without a byte.
        seconds: Seconds in all; None: as long as bytes arrive at SLOWEST.
    """

    def __init__(self, silent: float, seconds: float | None, check: Callable[[], object]) -> None:
        """Start a request; `check` is called several times a second, and what it raises ends the wait."""
        self.silent, self.seconds, self.check = silent, seconds, check
        self._spent, self._since_byte, self._received = 0.0, 0.0, 0

    def turn(self) -> None:
        """Count a turn in vain. Raises InputError if those were too many."""
        self.check()
        self._spent += POLL_SECONDS
        self._since_byte += POLL_SECONDS
        if self._since_byte >= self.silent:
            raise InputError(f"no data arrived for {self.silent:g} seconds")
        self._check_total()

    def received(self, count: int, seconds: float) -> None:
        """Count bytes, and the seconds in which they were waited for. Raises InputError if those were too many."""
        self._spent += min(seconds, POLL_SECONDS)
        self._since_byte = 0.0
        self._received += count
        self._check_total()

    def _check_total(self) -> None:
        if self.seconds is not None and self._spent > self.seconds:
            raise InputError(f"it was not fetched within {self.seconds:g} s")
        if self._spent > PATIENCE + self._received / SLOWEST:
            raise InputError(f"it arrives at less than {SLOWEST} bytes a second")


class PatientSocket(socket.socket):
    """A socket that reads as `wait` says. Python's ssl makes a TLS socket of it, which reads in the same way."""

    wait: Wait

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read into a buffer what is there, or wait for it."""
        return _received(lambda: super(PatientSocket, self).recv_into(buffer, nbytes, flags), self.wait)


class PatientTLSSocket(ssl.SSLSocket):
    """A TLS socket that reads as `wait` says."""

    wait: Wait

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Read into a buffer what is there, or wait for it."""
        return _received(lambda: super(PatientTLSSocket, self).recv_into(buffer, nbytes, flags), self.wait)


def _received(read: Callable[[], int], wait: Wait) -> int:
    while True:
        begin = time.monotonic()
        try:
            count = read()
        except TimeoutError:
            wait.turn()
            continue
        wait.received(count, time.monotonic() - begin)
        return count


def connect(address: str, port: int, wait: Wait, seconds: float) -> PatientSocket:
    """Connect to an IP address. Raises OSError, also if it takes longer than some seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = PatientSocket(family, socket.SOCK_STREAM)
    connection.wait = wait
    try:
        connection.setblocking(False)
        if (begun := connection.connect_ex((address, port))) not in BEGUN:
            raise OSError(begun, os.strerror(begun))
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_WRITE)
            end = time.monotonic() + seconds
            while not selector.select(POLL_SECONDS):
                wait.check()
                if time.monotonic() > end:
                    raise TimeoutError(errno.ETIMEDOUT, "it did not answer in time")
        if failed := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failed, os.strerror(failed))
        connection.settimeout(POLL_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def secured(connection: PatientSocket, host: str) -> PatientTLSSocket:
    """Return a TLS connection over a socket, whose certificate is checked. Raises OSError."""
    wait = connection.wait
    tls = _context().wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
    assert isinstance(tls, PatientTLSSocket)
    tls.wait = wait
    while True:
        try:
            tls.do_handshake()
        except TimeoutError:
            wait.turn()
            continue
        except BaseException:
            tls.close()
            raise
        return tls


@cache
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = PatientTLSSocket
    return context
