"""What is piped in."""

import sys
from collections.abc import Callable, Iterator

from mdtool.errors import UsageError
from mdtool.interruption import ENDING
from mdtool.media.files.pipe import Piped

CHUNK_BYTES = 1 << 16


def check_piped(what: str) -> None:
    """UsageError, which names what could be, where nothing is piped in."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"-: nothing is piped in; give a file name, or pipe {what} to this command")


def piped(what: str, ended: Callable[[], bool] = ENDING.is_set) -> Piped:
    """As `check_piped`; ended: as `Piped` has it."""
    check_piped(what)
    return Piped(sys.stdin.fileno(), ended)


def lines(what: str) -> Iterator[str]:
    """As they come: UTF-8 whatever the locale says, and the program can end while none come.

    UsageError, which names what could be, where nothing is piped in.
    """
    data, rest = piped(what), b""
    while chunk := data.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "surrogateescape") + "\n" for line in whole)
    if rest:
        yield rest.decode("utf-8", "surrogateescape")
