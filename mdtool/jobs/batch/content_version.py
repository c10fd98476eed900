"""Which content an input had, so that it is known again."""

import os
from dataclasses import dataclass

from mdtool.media.sources.inputs import Input

State = tuple[int, int]


@dataclass(frozen=True)
class ContentVersion:
    """Which content an input had.

    sha256: in hexadecimal, of what was read. size, modified: of the file, in bytes and in nanoseconds since 1970, when
    it was read; None of what is no file. served: of a video on the web, in place of its digest, what the server tells
    of its version.
    """

    sha256: str
    size: int | None = None
    modified: int | None = None
    http_validator: str = ""

    @property
    def identity(self) -> str:
        """The same for the same content; empty where nobody knows."""
        return self.sha256 or self.http_validator

    @property
    def state(self) -> tuple[int | None, int | None]:
        return self.size, self.modified


UNKNOWN = ContentVersion("")  # of what can't be read again, as a camera


def file_state(source: Input) -> State | None:
    """Size in bytes and time of the last change in nanoseconds; None of what is no file, or is not there."""
    try:
        status = os.stat(source.path) if source.path else None
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if status else None
