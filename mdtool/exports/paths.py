"""Where what belongs to one input goes: names that no other input has, below a folder that they can't leave."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from mdtool.errors import UsageError
from mdtool.media.sources.inputs import Input

LONGEST = 80  # bytes of a folder named after a label
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows, with any ending


def with_timestamp(name: str, time: float | None) -> str:
    """time: seconds, of a frame of a video; names in the order of the alphabet are then in the order of time."""
    return name if time is None else f"{name}-{time:09.3f}"


def check_distinct(sources: Iterable[Input], place: Callable[[Input], Path]) -> None:
    """UsageError if two inputs have the same place."""
    taken: dict[Path, Input] = {}
    doubles = [(taken[at], one) for one in sources if taken.setdefault(at := place(one), one) is not one]
    if doubles:
        first, second = doubles[0]
        more = f" (and {len(doubles) - 1} more like these)" if len(doubles) > 1 else ""
        raise UsageError(
            f"{first.name}, {second.name}: both would be written to {place(first)}{more}; "
            "rename one, or give each a folder of its own"
        )


def folder_name(label: str) -> str:
    """A label as the name of one folder, on any system. Several labels may have the same."""
    name = unicodedata.normalize("NFC", label)
    name = "".join("_" if one in '<>:"/\\|?*' or not one.isprintable() else one for one in name)
    name = name.encode()[:LONGEST].decode(errors="ignore").strip(". ")
    return f"_{name}" if not name or RESERVED.fullmatch(name) else name
