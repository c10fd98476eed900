"""What is piped in."""

import sys
from collections.abc import Callable, Iterator

from mdtool.errors import UsageError
from mdtool.interruption import INTERRUPT_EVENT
from mdtool.media.files.pipe import PipeReader

CHUNK_BYTES = 1 << 16


def check_stdin_piped(what: str) -> None:
    """UsageError, which names what could be, where nothing is piped in."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"-: nothing is piped in; give a file name, or pipe {what} to this command")


def open_stdin(what: str, ended: Callable[[], bool] = INTERRUPT_EVENT.is_set) -> PipeReader:
    """As `check_stdin_piped`; ended: as `PipeReader` has it."""
    check_stdin_piped(what)
    return PipeReader(sys.stdin.fileno(), ended)


def lines(what: str) -> Iterator[str]:
    """As they come: UTF-8 whatever the locale says, and the program can end while none come.

    UsageError, which names what could be, where nothing is piped in.
    """
    data, rest = open_stdin(what), b""
    while chunk := data.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "surrogateescape") + "\n" for line in whole)
    if rest:
        yield rest.decode("utf-8", "surrogateescape")
