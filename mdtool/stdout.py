"""Results as text on stdout: UTF-8 whatever the locale says, and out at once, for whoever reads it at the other end."""

import json
import sys
from typing import Any

from mdtool.errors import StdoutError, cant_write


def put(text: str) -> None:
    """Raises StdoutError where it can't be written; BrokenPipeError where nobody reads any more."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutError(f"stdout: {cant_write(error)}") from error


def put_record(record: dict[str, Any]) -> None:
    """As a line of JSON. Of names that are no text the bytes are escaped in JSON's own way."""
    put(json.dumps(record, ensure_ascii=False) + "\n")


class Lines:
    """Takes text as a file does. What `put` raises is raised."""

    def write(self, text: str, /) -> None:
        put(text)
