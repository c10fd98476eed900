"""Findings as data: JSON Lines, one object a frame (or photo), written as they are made.

schema    "mdtool.findings/1"
source    the input, as it was named
stream    index of the video stream in the file; 0 for photos and animations
frame     counts the frames of that stream from 0
time      seconds
model     that looked
prompts   what it was asked for
looked    true: the model saw this very frame; false: what is said of it was carried here from frames around it
hidden    true: the frame could not be judged, so that none of it may be shown
objects   label, track (the same number for the same object on all frames), score (or null), seen (by the model,
          on this frame), and x_min, y_min, x_max, y_max in fractions of the displayed picture, origin top left
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mdtool.errors import InputError, OutputError, UsageError
from mdtool.media.whole_file import cant_write

SCHEMA = "mdtool.findings/1"
SIDES = ("x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True)
class Region:
    """One object on one frame, in fractions of the displayed picture. seen: by the model itself, on this frame."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: str
    track: int
    score: float | None
    seen: bool


@dataclass
class Verdict:
    """What is known of one frame; see the schema above."""

    regions: list[Region] = field(default_factory=list)
    looked: bool = False
    hidden: bool = False


class FindingsFile:
    """Writes the findings of one input as they are made."""

    def __init__(self, file: TextIO, source: str, model: str, prompts: Sequence[str]) -> None:
        self._file = file
        self._about = {"schema": SCHEMA, "source": source}
        self._asked = {"model": model, "prompts": list(prompts)}

    def write(self, stream: int, frame: int, time: float, verdict: Verdict) -> None:
        """time: seconds."""
        objects = [
            {
                "label": region.label,
                "track": region.track,
                "score": None if region.score is None else round(region.score, 4),
                "seen": region.seen,
                **{side: round(getattr(region, side), 5) for side in SIDES},
            }
            for region in verdict.regions
        ]
        entry = {
            **self._about,
            "stream": stream,
            "frame": frame,
            "time": round(time, 6),
            **self._asked,
            "looked": verdict.looked,
            "hidden": verdict.hidden,
            "objects": objects,
        }
        with _told("--findings"):
            self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")


class RecordedFindings:
    """Findings read back for the frames of one source, in about the order in which they are asked for."""

    def __init__(self, path: Path, source: str, by_name: bool) -> None:
        """by_name: the file's name is enough to be the source, in whatever folder it was."""
        self._lines = _records(path)
        self._source = source
        self._by_name = by_name
        self._ahead: dict[tuple[int, int], Verdict] = {}

    def of(self, stream: int, frame: int) -> Verdict:
        """What the file says about a frame; InputError if it says nothing, for then nothing is known of it."""
        while (stream, frame) not in self._ahead:
            line = next(self._lines, None)
            if line is None:
                raise InputError(
                    f"the findings say nothing of its stream {stream}, frame {frame}: "
                    "they must be those of this very file, and complete"
                )
            if self._is_source(line.source):
                self._ahead[line.stream, line.frame] = line.verdict
        return self._ahead.pop((stream, frame))

    def _is_source(self, name: str) -> bool:
        return name == self._source or (self._by_name and Path(name).name == Path(self._source).name)


class _Line(NamedTuple):
    source: str
    stream: int
    frame: int
    verdict: Verdict


def _records(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                yield _parsed(line, f"{path}:{number}")
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error


def _parsed(line: str, place: str) -> _Line:
    """A record with everything in it that is needed to hide what it names."""
    try:
        entry = json.loads(line)
        if entry["schema"] != SCHEMA:
            raise InputError(f"{place}: is of schema {entry['schema']!r}; this version reads {SCHEMA!r}")
        return _Line(str(entry["source"]), int(entry["stream"]), int(entry["frame"]), _verdict(entry))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{place}: is no findings record ({type(error).__name__}: {error})") from error


def _verdict(entry: dict[str, Any]) -> Verdict:
    regions = []
    for found in entry["objects"]:
        x0, y0, x1, y1 = (float(found[side]) for side in SIDES)
        if not -100 < x0 < x1 < 100 or not -100 < y0 < y1 < 100:
            raise ValueError(f"a box can't be {x0}, {y0}, {x1}, {y1}")
        score = None if found["score"] is None else float(found["score"])
        regions.append(Region(x0, y0, x1, y1, str(found["label"]), int(found["track"]), score, bool(found["seen"])))
    return Verdict(regions, bool(entry["looked"]), bool(entry["hidden"]))


@contextmanager
def opened_for_writing(name: str | None, overwrite: bool, read: Iterable[Path]) -> Iterator[TextIO | None]:
    """The file for findings, "-" for stdout, None for none. It grows as they are made, a whole line at a time.

    read: files that are read meanwhile. OutputError if the file is one of them, exists already, or can't be made.
    """
    if name is None:
        yield None
    elif name == "-":
        yield sys.stdout
    else:
        path = Path(name)
        if path.exists() and any(other.exists() and path.samefile(other) for other in read):
            raise UsageError(f"--findings {name}: is read by this very command; give another name")
        if path.is_file() and not overwrite:
            raise OutputError(f"{name}: exists already; --overwrite replaces it")
        with _told(name):
            file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
        try:
            yield file
        except BaseException:
            with suppress(OSError):
                file.close()
            raise
        with _told(name):
            file.close()


@contextmanager
def _told(name: str) -> Iterator[None]:
    """OutputError, naming the file, where it can't be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{name}: {cant_write(error)}") from error
