"""Answers of a model for many inputs, read back from JSON Lines, a record at a time.

`mdtool.records.schemas` describes the fields.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdtool.errors import InputError
from mdtool.records.answers import PLACE, SIDES
from mdtool.records.findings import BATCH_SCHEMA as SCHEMA
from mdtool.records.findings import SCHEMA as FINDINGS_SCHEMA

SIZES = {"width", "height"}
TEXTS = {"input", "sha256", "served", "model", "revision", "settings"}
TEXTS |= {"length", "caption", "question", "answer", "reasoning", "prompt", "label"}
NUMBERS = {"time", "milliseconds", "score", *SIDES, *PLACE}
NEEDED = {
    "caption": ["caption"],
    "question": ["question", "answer"],
    "objects": ["prompt", "objects"],
    "points": ["prompt", "points"],
}
Record = dict[str, Any]


@dataclass
class ExportCounts:
    """How many inputs are in what was made, how many had failed, and how many hold nothing of the kind."""

    written: int = 0
    failed: int = 0
    skipped: int = 0


def records(path: Path, settings: str | None = None) -> Iterator[Record]:
    """All of a file, as they come, or those with these settings. InputError for what is none.

    A last line that breaks off is passed over: it is still being written, or the run was killed there.
    """
    number = 0
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for line in file:
                number += 1
                try:
                    entry = json.loads(line)
                except ValueError:
                    if not line.endswith("\n"):
                        return
                    raise
                if entry["schema"] == FINDINGS_SCHEMA:  # of a video, before its record
                    continue
                if settings in (None, _checked(entry).get("settings")):
                    yield entry
    except OSError as error:
        raise InputError(f"{path}: can't be read: {(error.strerror or str(error)).lower()}") from error
    except InputError as error:
        raise InputError(f"{path}:{number}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}:{number}: is no record of answers ({type(error).__name__}: {error})") from error


def answered_records(path: Path, counts: ExportCounts, settings: str | None = None) -> Iterator[Record]:
    """As `records`, but without inputs that failed, which are counted."""
    for record in records(path, settings):
        if "error" in record:
            counts.failed += 1
        else:
            yield record


def _checked(entry: Record) -> Record:
    """The same, if what is made use of is what it should be."""
    if entry["schema"] != SCHEMA:
        raise InputError(f"is of schema {entry['schema']!r}; this version reads {SCHEMA!r}")
    if "error" in entry:
        _check(entry, ["input"])
        return entry
    if "frames" in entry:
        return entry
    _check(entry, ["input", "width", "height"])
    for answer in entry["answers"]:
        kind = next((kind for kind in NEEDED if kind in answer), "caption")
        _check(answer, NEEDED[kind])
        for found in answer.get("objects", ()):
            _check(found, ["label", *SIDES])
        for found in answer.get("points", ()):
            _check(found, ["label", *PLACE])
    return entry


def _check(entry: dict[str, Any], needed: Sequence[str]) -> None:
    """ValueError for a field of the wrong kind. Those that are not needed may also be null or missing."""
    for name in dict.fromkeys([*needed, *entry]):
        value = entry[name]
        if value is None and name not in needed:
            continue
        if name in TEXTS:
            right = isinstance(value, str)
        elif name in NUMBERS:
            right = not isinstance(value, bool) and math.isfinite(value)
        elif name in SIZES:
            right = isinstance(value, int) and 0 < value < 1 << 31
        else:
            right = name != "complete" or isinstance(value, bool)
        if not right:
            raise ValueError(f"{name} can't be {value!r}")
