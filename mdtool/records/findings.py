"""Write and read findings ("mdtool.findings/1"): JSON Lines, one record per frame or image.

`mdtool.records.schemas` describes the fields. Records of images that `mdtool detect --jsonl` writes ("mdtool.batch/1")
are read as findings too.

Findings hold for one file only: another SHA-256, size or number of frames is refused. Objects may be edited by hand; a
record without sha256 or size is not compared by it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from mdtool.errors import InputError, output_errors_for, record_fault
from mdtool.stdout import json_text
from recipes.regions import GazeEstimate, Region

SCHEMA = "mdtool.findings/1"
BATCH_SCHEMA = "mdtool.batch/1"
SHARD_SCHEMA = "mdtool.shard/1"
SIDES = ("x_min", "y_min", "x_max", "y_max")
MAX_SECONDS = 1e9
MAX_OBJECTS = 10_000  # on a frame, far more than models find

T = TypeVar("T")


@dataclass
class FrameFindings:
    """The findings on one frame.

    Attributes:
        regions: The detections.
        analysed: Whether the frame is a keyframe, which the model analysed.
        hidden: Whether the frame could not be judged and must be masked whole.
        cut: Whether a shot begins with this frame.
        replies: Answers to questions about the whole frame, by question.
        untrackable: Why the frame had to be analysed between regular keyframes: a UNTRACKABLE key; empty if it had not.
            Not recorded in files.
    """

    regions: list[Region] = field(default_factory=list)
    analysed: bool = False
    hidden: bool = False
    cut: bool = False
    replies: dict[str, str] = field(default_factory=dict)
    untrackable: str = ""


@dataclass(frozen=True)
class FrameInfo:
    """Identity of a frame.

    Attributes:
        stream: Index of the video stream.
        frame: Index of the frame in its stream.
        time: Timestamp in seconds.
        duration: Seconds for which it is shown; 0 if unknown.
        size: Width and height in pixels, as displayed; (0, 0) if unknown.
    """

    stream: int = 0
    frame: int = 0
    time: float = 0.0
    duration: float = 0.0
    size: tuple[int, int] = (0, 0)

    def may_have(self, size: tuple[int, int]) -> bool:
        """Return whether the frame has this size, or its size is unknown."""
        return self.size in ((0, 0), size)


class Lines(Protocol):
    """A sink for lines of text, such as a file."""

    def write(self, text: str, /) -> object:
        """Write text that ends with a line break."""


@dataclass(frozen=True)
class Tee:
    """A sink that copies lines to two others; the second may be None."""

    first: Lines
    second: Lines | None

    def write(self, text: str) -> None:
        """Write text to both."""
        self.first.write(text)
        if self.second:
            self.second.write(text)


class FindingsWriter:
    """Writes the findings of one input, frame by frame."""

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
        """Create a writer.

        Args:
            file: Receives one line per frame.
            source: The input, as it was named.
            model: Name of the model.
            prompts: The prompts.
            settings: Fingerprint of the settings, in a batch.
            sha256: SHA-256 of the file; empty for streams.
        """
        self._file = file
        optional = {"sha256": sha256, "settings": settings}
        self._header = {"schema": SCHEMA, "source": source, **{k: value for k, value in optional.items() if value}}
        self._inference = {"model": model, "prompts": list(prompts)}

    def write(self, info: FrameInfo, findings: FrameFindings) -> None:
        """Write the record of one frame.

        Raises:
            OutputError: It can't be written.
        """
        entry = {
            **self._header,
            "stream": info.stream,
            "frame": info.frame,
            "time": round(info.time, 6),
            "duration": round(info.duration, 6),
            "size": info.size,
            **self._inference,
            "looked": findings.analysed,
            "hidden": findings.hidden,
            "cut": findings.cut,
            "objects": [_object(region) for region in findings.regions],
            **({"replies": findings.replies} if findings.replies else {}),
        }
        with output_errors_for("findings"):
            self._file.write(json_text(entry, (",", ":")) + "\n")


def _object(region: Region) -> dict[str, Any]:
    return {
        "label": region.label,
        "track": region.track,
        "score": None if region.score is None else round(region.score, 4),
        "seen": region.seen,
        **{side: round(getattr(region, side), 5) for side in SIDES},
        **({"gaze": _gaze(region.gaze)} if region.gaze else {}),
    }


def _gaze(gaze: GazeEstimate) -> dict[str, Any]:
    target = {} if gaze.target is None else {"x": round(gaze.target[0], 5), "y": round(gaze.target[1], 5)}
    return {"method": gaze.method, "in_frame": gaze.in_frame, **target}


@dataclass(frozen=True)
class Record:
    """A record of findings.

    Attributes:
        source: The input, as it was named.
        info: The frame.
        findings: The findings on it.
        model: Name of the model.
        prompts: The prompts.
        sha256: SHA-256 of the input's file; empty if unknown.
    """

    source: str
    info: FrameInfo
    findings: FrameFindings
    model: str = ""
    prompts: tuple[str, ...] = ()
    sha256: str = ""


def parse_record(line: str, place: str) -> Record | None:
    """Parse a record of findings, or of a batch.

    Args:
        line: One line of JSON.
        place: File and line number, for errors.

    Returns:
        The record; None for one that holds no findings: of a video, a failed input or the end of a shard.

    Raises:
        InputError: The line is not a record, or lacks what redaction needs.
    """
    try:
        entry = json.loads(line)
        if entry["schema"] == BATCH_SCHEMA:
            return _from_batch_record(entry)
        if entry["schema"] == SHARD_SCHEMA:
            return None
        if entry["schema"] != SCHEMA:
            raise InputError(f"{place}: of schema {entry['schema']!r}; this version reads {SCHEMA!r}")
        width, height = map(_whole, _typed(list, entry.get("size", [0, 0])))
        info = FrameInfo(
            _whole(entry["stream"]),
            _whole(entry["frame"]),
            _seconds(entry.get("time", 0.0)),
            _seconds(entry.get("duration", 0.0)),
            (width, height),
        )
        prompts = tuple(_typed(str, prompt) for prompt in _typed(list, entry.get("prompts", [])))
        model, sha256 = _typed(str, entry.get("model", "")), _typed(str, entry.get("sha256", ""))
        return Record(_typed(str, entry["source"]), info, _frame_findings(entry), model, prompts, sha256)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{place}: not a record of findings ({record_fault(error)})") from error


def _from_batch_record(entry: dict[str, Any]) -> Record | None:
    """Return the findings in a batch record of an image; None for a failure or a video, which has its own findings."""
    if "error" in entry or "frames" in entry:
        return None
    answers = _typed(list, entry["answers"])
    if entry.get("time") is not None or not answers or not all("objects" in answer for answer in answers):
        raise ValueError("it does not hold the boxes of an image, as `mdtool detect` writes them")
    if not all(_typed(bool, answer["complete"]) for answer in answers):
        raise ValueError("a limit ended its list of objects, so that there may be more")
    objects = [detected for answer in answers for detected in _typed(list, answer["objects"])]
    numbered = enumerate(_limited(objects), 1)
    regions = [_region({"score": None, **detected, "track": n, "seen": True}) for n, detected in numbered]
    info = FrameInfo(size=(_whole(entry["width"]), _whole(entry["height"])))
    prompts = tuple(_typed(str, answer["prompt"]) for answer in answers)
    findings, sha256 = FrameFindings(regions, analysed=True), _typed(str, entry.get("sha256", ""))
    return Record(_typed(str, entry["input"]), info, findings, _typed(str, entry["model"]), prompts, sha256)


def _typed(kind: type[T], value: Any) -> T:
    """Return a value of a record that is of this type; raise TypeError if it is of another."""
    if type(value) is not kind:  # not isinstance: true and false are no numbers
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) not in (int, float) or value % 1 != 0:
        raise TypeError(f"{value!r} is not a whole number")
    return int(value)


def _seconds(value: Any) -> float:
    seconds = _number(value)
    if not -MAX_SECONDS < seconds < MAX_SECONDS:  # NaN too
        raise ValueError(f"a time can't be {value}")
    return seconds


def _frame_findings(entry: dict[str, Any]) -> FrameFindings:
    replies = {question: _typed(str, reply) for question, reply in _typed(dict, entry.get("replies", {})).items()}
    regions = [_region(detected) for detected in _limited(_typed(list, entry["objects"]))]
    analysed, hidden, cut = (_typed(bool, each) for each in (entry["looked"], entry["hidden"], entry.get("cut", False)))
    return FrameFindings(regions, analysed, hidden, cut, replies)


def _limited(objects: list[Any]) -> list[Any]:
    """Return the objects of a frame. Raises ValueError: They are more than any model finds."""
    if len(objects) > MAX_OBJECTS:
        raise ValueError(f"it has {len(objects)} objects, of at most {MAX_OBJECTS} on a frame")
    return objects


def _region(detected: dict[str, Any]) -> Region:
    x0, y0, x1, y1 = (_number(detected[side]) for side in SIDES)
    if not -100 < x0 < x1 < 100 or not -100 < y0 < y1 < 100:
        raise ValueError(f"a box can't be {x0}, {y0}, {x1}, {y1}")
    score = None if detected["score"] is None else _number(detected["score"])
    gaze = _gaze_estimate(_typed(dict, detected["gaze"])) if "gaze" in detected else None
    label, seen = _typed(str, detected["label"]), _typed(bool, detected["seen"])
    return Region(x0, y0, x1, y1, label, _track(detected["track"]), score, seen, gaze)


def _track(value: Any) -> int:
    if type(value) not in (int, float) or value % 1 != 0:
        raise ValueError(f"a track has to be a whole number, not {json.dumps(value)}")
    return int(value)


def _gaze_estimate(gaze: dict[str, Any]) -> GazeEstimate:
    target = None
    if "x" in gaze:
        target = _number(gaze["x"]), _number(gaze["y"])
        if not all(-100 < coordinate < 100 for coordinate in target):
            raise ValueError(f"a gaze target can't be {target}")
    in_frame = None if gaze["in_frame"] is None else _typed(bool, gaze["in_frame"])
    if (target is not None) != (in_frame is True):
        raise ValueError("a gaze has x and y if it is in the frame, and only then")
    if gaze["method"] not in ("model", "head"):
        raise ValueError(f"a gaze method can't be {gaze['method']!r}")
    return GazeEstimate(target, in_frame, gaze["method"])
