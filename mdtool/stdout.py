"""Results as text on stdout: UTF-8 whatever the locale says, and out at once, for whoever reads it at the other end."""

import json
import sys
from typing import Any

from mdtool.errors import StdoutError, write_error_message


def write_stdout(text: str) -> None:
    """Raises StdoutError where it can't be written; BrokenPipeError where nobody reads any more."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutError(f"stdout: {write_error_message(error)}") from error


def write_json_record(record: dict[str, Any]) -> None:
    """As a line of JSON. Of names that are no text the bytes are escaped in JSON's own way."""
    write_stdout(json.dumps(record, ensure_ascii=False) + "\n")


class Lines:
    """Takes text as a file does. What `write_stdout` raises is raised."""

    def write(self, text: str, /) -> None:
        write_stdout(text)
