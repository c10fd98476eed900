"""File names of side outputs: distinct for each input, valid on every system, and inside the output folder."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from mdtool.errors import UsageError
from mdtool.media.sources.inputs import Input

MAX_NAME_BYTES = 80  # of a folder named after a label
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows, with any extension


def with_timestamp(name: str, time: float | None) -> str:
    """Append the timestamp of a video frame, in seconds, to a name; names then sort by time."""
    return name if time is None else f"{name}-{time:09.3f}"


def check_distinct(sources: Iterable[Input], place: Callable[[Input], Path]) -> None:
    """Check that all inputs have different output paths.

    Args:
        sources: The inputs.
        place: Input -> its output path.

    Raises:
        UsageError: Two inputs have the same path.
    """
    taken: dict[Path, Input] = {}
    conflicts = [
        (taken[path], source) for source in sources if taken.setdefault(path := place(source), source) is not source
    ]
    if conflicts:
        first, second = conflicts[0]
        more = f" (and {len(conflicts) - 1} more such pairs)" if len(conflicts) > 1 else ""
        raise UsageError(
            f"{first.name}, {second.name}: both would be written to {place(first)}{more}; "
            "rename one, or give each its own folder"
        )


def folder_name(label: str) -> str:
    """Return a label as a folder name that is valid on any system. Different labels may have the same name."""
    name = unicodedata.normalize("NFC", label)
    name = "".join("_" if char in '<>:"/\\|?*' or not char.isprintable() else char for char in name)
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(". ")
    return f"_{name}" if not name or RESERVED.fullmatch(name) else name
