"""Findings as data: JSON Lines, one object a frame (or photo), written as they are made.

`mdtool.records.schemas` describes the fields. Records of images as `mdtool detect --jsonl` writes them
("mdtool.batch/1") are read as findings too.

They hold for this very input: one with another SHA-256, another size, or more or fewer frames is refused. Objects may
be changed by hand, added and taken out; a record without sha256 or size is not compared by it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mdtool.errors import InputError, output_errors_for
from recipes.regions import GazeEstimate, Region

SCHEMA = "mdtool.findings/1"
BATCH_SCHEMA = "mdtool.batch/1"
SIDES = ("x_min", "y_min", "x_max", "y_max")
MOST_SECONDS = 1e9


@dataclass
class FrameFindings:
    """What is known of one frame; the fields are those of its record."""

    regions: list[Region] = field(default_factory=list)
    analysed: bool = False
    hidden: bool = False
    cut: bool = False
    replies: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameInfo:
    """Which frame it is. time, duration: seconds; size: (width, height) in pixels, as displayed; (0, 0): not known."""

    stream: int = 0
    frame: int = 0
    time: float = 0.0
    duration: float = 0.0
    size: tuple[int, int] = (0, 0)

    def may_have(self, size: tuple[int, int]) -> bool:
        """Whether nothing says that it is of another size."""
        return self.size in ((0, 0), size)


class Lines(Protocol):
    """What takes lines of text: a file, or several."""

    def write(self, text: str, /) -> object: ...


@dataclass(frozen=True)
class Tee:
    """Lines that go to two places; None: to one."""

    one: Lines
    other: Lines | None

    def write(self, text: str) -> None:
        self.one.write(text)
        if self.other:
            self.other.write(text)


class FindingsWriter:
    """Writes the findings of one input as they are made. sha256: of its file, if it has one."""

    def __init__(
        self,
        file: Lines,
        source: str,
        model: str,
        prompts: Sequence[str],
        *,
        settings: str | None = None,
        sha256: str = "",
    ) -> None:
        self._file = file
        told = {"sha256": sha256, "settings": settings}
        self._about = {"schema": SCHEMA, "source": source, **{name: value for name, value in told.items() if value}}
        self._asked = {"model": model, "prompts": list(prompts)}

    def write(self, info: FrameInfo, findings: FrameFindings) -> None:
        entry = {
            **self._about,
            "stream": info.stream,
            "frame": info.frame,
            "time": round(info.time, 6),
            "duration": round(info.duration, 6),
            "size": info.size,
            **self._asked,
            "looked": findings.analysed,
            "hidden": findings.hidden,
            "cut": findings.cut,
            "objects": [_object(region) for region in findings.regions],
            **({"replies": findings.replies} if findings.replies else {}),
        }
        with output_errors_for("findings"):
            self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")


def _object(region: Region) -> dict[str, Any]:
    return {
        "label": region.label,
        "track": region.track,
        "score": None if region.score is None else round(region.score, 4),
        "seen": region.seen,
        **{side: round(getattr(region, side), 5) for side in SIDES},
        **({"gaze": _gaze(region.gaze)} if region.gaze else {}),
    }


def _gaze(look: GazeEstimate) -> dict[str, Any]:
    place = {} if look.target is None else {"x": round(look.target[0], 5), "y": round(look.target[1], 5)}
    return {"method": look.method, "in_frame": look.in_frame, **place}


@dataclass(frozen=True)
class Record:
    """One line of findings. prompts: what the model was asked for. sha256: of the source's file; empty: not known."""

    source: str
    info: FrameInfo
    findings: FrameFindings
    model: str = ""
    prompts: tuple[str, ...] = ()
    sha256: str = ""


def parse_record(line: str, place: str) -> Record | None:
    """A record with everything in it that is needed to hide what it names; None for what tells nothing of a picture."""
    try:
        entry = json.loads(line)
        if entry["schema"] == BATCH_SCHEMA:
            return _from_batch_record(entry)
        if entry["schema"] != SCHEMA:
            raise InputError(f"{place}: is of schema {entry['schema']!r}; this version reads {SCHEMA!r}")
        width, height = (int(side) for side in entry.get("size", (0, 0)))
        info = FrameInfo(
            int(entry["stream"]),
            int(entry["frame"]),
            _seconds(entry.get("time", 0.0)),
            _seconds(entry.get("duration", 0.0)),
            (width, height),
        )
        prompts = tuple(str(prompt) for prompt in entry.get("prompts", ()))
        model, sha256 = str(entry.get("model", "")), str(entry.get("sha256", ""))
        return Record(str(entry["source"]), info, _frame_findings(entry), model, prompts, sha256)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{place}: is no findings record ({type(error).__name__}: {error})") from error


def _from_batch_record(entry: dict[str, Any]) -> Record | None:
    """Of a picture. That a video was looked at tells nothing that its findings don't; nor does a failure."""
    if "error" in entry or "frames" in entry:
        return None
    if entry.get("time") is not None or not all("objects" in answer for answer in entry["answers"]):
        raise ValueError("it is not of boxes in a picture, as `mdtool detect` finds them")
    if not all(answer["complete"] for answer in entry["answers"]):
        raise ValueError("a limit ended its list of objects, so that there may be more")
    found = [one for answer in entry["answers"] for one in answer["objects"]]
    regions = [_region({"score": None, **one, "track": n, "seen": True}) for n, one in enumerate(found, 1)]
    info = FrameInfo(size=(int(entry["width"]), int(entry["height"])))
    prompts = tuple(str(answer["prompt"]) for answer in entry["answers"])
    findings, sha256 = FrameFindings(regions, analysed=True), str(entry.get("sha256", ""))
    return Record(str(entry["input"]), info, findings, str(entry["model"]), prompts, sha256)


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not -MOST_SECONDS < seconds < MOST_SECONDS:  # NaN too
        raise ValueError(f"a time can't be {value}")
    return seconds


def _frame_findings(entry: dict[str, Any]) -> FrameFindings:
    replies = {str(question): str(reply) for question, reply in entry.get("replies", {}).items()}
    regions = [_region(found) for found in entry["objects"]]
    return FrameFindings(regions, bool(entry["looked"]), bool(entry["hidden"]), bool(entry.get("cut")), replies)


def _region(found: dict[str, Any]) -> Region:
    x0, y0, x1, y1 = (float(found[side]) for side in SIDES)
    if not -100 < x0 < x1 < 100 or not -100 < y0 < y1 < 100:
        raise ValueError(f"a box can't be {x0}, {y0}, {x1}, {y1}")
    score = None if found["score"] is None else float(found["score"])
    look = _gaze_estimate(found["gaze"]) if found.get("gaze") else None
    return Region(x0, y0, x1, y1, str(found["label"]), int(found["track"]), score, bool(found["seen"]), look)


def _gaze_estimate(gaze: dict[str, Any]) -> GazeEstimate:
    target = None
    if "x" in gaze:
        target = float(gaze["x"]), float(gaze["y"])
        if not all(-100 < place < 100 for place in target):
            raise ValueError(f"nobody can look at {target}")
    in_frame = None if gaze["in_frame"] is None else bool(gaze["in_frame"])
    if (target is not None) != (in_frame is True):
        raise ValueError("a gaze has x and y if it is in the frame, and only then")
    if gaze["method"] not in ("model", "head"):
        raise ValueError(f"no gaze is told by {gaze['method']!r}")
    return GazeEstimate(target, in_frame, gaze["method"])
