"""What a model said about many inputs, read back from JSON Lines, a record at a time.

A record is one line of JSON, for one picture, or one frame of a video:

schema         "mdtool.batch/1"
input          the picture or video, as it was named
time           seconds; only of a frame of a video
frames         only of a video itself: how many frames were asked about. Its answers are an empty list, and the record
               comes after those of its frames
incomplete     only of a video: what is wrong with it, so that a part of it could not be asked about
live           true: it played while it was asked about, so that it can't be asked about again
sha256         of the file's bytes, in hexadecimal; empty of a video on the web, and of what can't be read again
served         only of a video on the web: what the server tells of its version (ETag, Last-Modified, Content-Length)
bytes          the size of the file, and
modified       when it was changed last, in nanoseconds since 1970, as it was read; null of what is no file
width, height  pixels, upright
model          that answered, and its revision
settings       a fingerprint of all that has a say in the answers (`mdtool.records.fingerprint`)
milliseconds   from when work on it began to its last answer; pictures that are asked about together overlap
answers        a list; each as in an "mdtool.answers/1" record: length with caption; question with answer; or prompt
               with objects (label, x_min, y_min, x_max, y_max, and score from a model that has one) or points
               (label, x, y), in fractions of the upright picture, and complete
made           what was made of it beside this record ("sidecar", "draw", "crops", "embed"), if anything was
error          in place of answers, of an input that failed: code ("input": it can't be read; "slow": not in the time
               that it had; "memory"; "model": it can't be answered; "output": what was to be written beside the record
               could not be), and cause in one line
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
