"""Reading from standard input."""

import sys
from collections.abc import Callable, Iterator

from mdtool.errors import UsageError
from mdtool.interruption import INTERRUPT_EVENT
from mdtool.media.files.pipe import PipeReader

CHUNK_BYTES = 1 << 16


def check_stdin_piped(what: str) -> None:
    """Check that stdin is not a terminal.

    Args:
        what: What could be piped in, for the message.

    Raises:
        UsageError: stdin is a terminal, or closed.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"-: nothing is piped in; give a file name, or pipe {what} to this command")


def open_stdin(what: str, should_stop: Callable[[], bool] = INTERRUPT_EVENT.is_set) -> PipeReader:
    """Open standard input as bytes.

    Args:
        what: What could be piped in, for the message.
        should_stop: As for `PipeReader`.

    Raises:
        UsageError: stdin is a terminal, or closed.
    """
    check_stdin_piped(what)
    return PipeReader(sys.stdin.fileno(), should_stop)


def lines(what: str) -> Iterator[str]:
    """Yield lines of stdin as they arrive, decoded as UTF-8 whatever the locale, each with its line feed.

    Args:
        what: What could be piped in, for the message.

    Raises:
        UsageError: stdin is a terminal, or closed.
    """
    data, rest = open_stdin(what), b""
    while chunk := data.read(CHUNK_BYTES):
        *complete, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "surrogateescape") + "\n" for line in complete)
    if rest:
        yield rest.decode("utf-8", "surrogateescape")
