"""Results on stdout: UTF-8 whatever the locale, flushed after each write for the reader of a pipe."""

import json
import sys
from typing import Any

from mdtool.errors import StdoutError, write_error_message
from mdtool.escaping import json_escaped


def write_stdout(text: str) -> None:
    """Write text to stdout, and flush it.

    Raises:
        StdoutError: It can't be written.
        BrokenPipeError: The reader of the pipe has closed it.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutError(f"stdout: {write_error_message(error)}") from error


def json_text(record: Any, separators: tuple[str, str] | None = None) -> str:
    """Return a record as JSON in one line, with whatever a terminal would obey escaped as JSON does.

    Args:
        record: The record.
        separators: As of `json.dumps`.
    """
    return json_escaped(json.dumps(record, ensure_ascii=False, separators=separators))


def write_json_record(record: dict[str, Any]) -> None:
    """Write a record as one line of JSON. Raises as `write_stdout`."""
    write_stdout(json_text(record) + "\n")


class Lines:
    """Stdout as a text file that can only be written to."""

    def write(self, text: str, /) -> None:
        """Write text. Raises as `write_stdout`."""
        write_stdout(text)
