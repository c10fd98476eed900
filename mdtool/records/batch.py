"""Read the records of a batch ("mdtool.batch/1") from JSON Lines, one at a time.

`mdtool.records.schemas` describes the fields.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, read_error_message, record_fault
from mdtool.records.answers import PLACE, SIDES
from mdtool.records.findings import BATCH_SCHEMA as SCHEMA
from mdtool.records.findings import SCHEMA as FINDINGS_SCHEMA
from mdtool.records.findings import SHARD_SCHEMA

SIZES = {"width", "height"}
TEXTS = {"input", "sha256", "served", "model", "revision", "settings"}
TEXTS |= {"length", "caption", "question", "answer", "reasoning", "prompt", "label"}
NUMBERS = {"time", "milliseconds", "score", *SIDES, *PLACE}
REQUIRED = {  # fields of an answer, by the field that identifies its kind
    "caption": ["caption"],
    "question": ["question", "answer"],
    "objects": ["prompt", "objects"],
    "points": ["prompt", "points"],
}
Record = dict[str, Any]


@dataclass
class ExportCounts:
    """Counts of an export.

    Attributes:
        written: Inputs that were exported.
        failed: Inputs left out because their record holds an error.
        skipped: Inputs left out because the format can't hold their answers.
    """

    written: int = 0
    failed: int = 0
    skipped: int = 0


def records(path: Path, settings: str | None = None) -> Iterator[Record]:
    """Read the records of a file.

    An incomplete last line is skipped: it is still being written, or the run was killed there.

    Args:
        path: The JSON Lines file.
        settings: Yield only records with this fingerprint of settings; None: all.

    Raises:
        InputError: The file can't be read, or a line is not such a record.
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
                if entry["schema"] in (FINDINGS_SCHEMA, SHARD_SCHEMA):  # of a video, before its record; of a shard
                    continue
                if settings in (None, _checked(entry).get("settings")):
                    yield entry
    except OSError as error:
        raise InputError(f"{path}: {read_error_message(error)}") from error
    except InputError as error:
        raise InputError(f"{path}:{number}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}:{number}: not a record of answers ({record_fault(error)})") from error


def answered_records(path: Path, counts: ExportCounts, settings: str | None = None) -> Iterator[Record]:
    """Read records as `records` does, but skip and count inputs that failed."""
    for record in records(path, settings):
        if "error" in record:
            counts.failed += 1
        else:
            yield record


def _checked(entry: Record) -> Record:
    """Return the record if the fields that exports read are valid, else raise InputError or a built-in error."""
    if entry["schema"] != SCHEMA:
        raise InputError(f"of schema {entry['schema']!r}; this version reads {SCHEMA!r}")
    if "error" in entry:
        _check(entry, ["input"])
        return entry
    if "frames" in entry:
        return entry
    _check(entry, ["input", "width", "height"])
    for answer in entry["answers"]:
        kind = next((kind for kind in REQUIRED if kind in answer), "caption")
        _check(answer, REQUIRED[kind])
        for box in answer.get("objects", ()):
            _check(box, ["label", *SIDES])
        for point in answer.get("points", ()):
            _check(point, ["label", *PLACE])
    return entry


def _check(entry: dict[str, Any], required: Sequence[str]) -> None:
    """Raise ValueError for a field of the wrong type; fields that are not required may also be null or missing."""
    for name in dict.fromkeys([*required, *entry]):
        value = entry[name]
        if value is None and name not in required:
            continue
        if name in TEXTS:
            valid = isinstance(value, str)
        elif name in NUMBERS:
            valid = not isinstance(value, bool) and math.isfinite(value)
        elif name in SIZES:
            valid = isinstance(value, int) and 0 < value < 1 << 31
        else:
            valid = name != "complete" or isinstance(value, bool)
        if not valid:
            raise ValueError(f"{name} can't be {value!r}")
