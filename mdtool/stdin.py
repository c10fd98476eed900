"""Text that is piped in, a line at a time."""

import sys
from collections.abc import Iterator

from mdtool.errors import UsageError
from mdtool.media.piped import Piped

CHUNK_BYTES = 1 << 16


def lines() -> Iterator[str]:
    """As they come: UTF-8 whatever the locale says, and the program can end while none come.

    UsageError where nothing is piped in.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("-: nothing is piped in; give a file name, or pipe findings to this command")
    piped, rest = Piped(sys.stdin.fileno()), b""
    while chunk := piped.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "surrogateescape") + "\n" for line in whole)
    if rest:
        yield rest.decode("utf-8", "surrogateescape")
