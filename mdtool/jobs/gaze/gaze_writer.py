"""Writes gazes as JSON Lines, one object per frame or image, smoothed as they are drawn.

`mdtool.records.schemas` describes the fields.
"""

from collections.abc import Sequence
from typing import Any

from engine.contract import Point
from mdtool.errors import output_errors_for
from mdtool.records.findings import SIDES, FrameInfo, Lines
from mdtool.stdout import json_text
from recipes.gaze import Gaze, mutual

SCHEMA = "mdtool.gaze/1"
DIGITS = 5


class GazeWriter:
    """Writes the gazes of one input."""

    def __init__(self, file: Lines, source: str) -> None:
        self._file = file
        self._source = source

    def write(self, info: FrameInfo, hidden: bool, people: Sequence[Gaze]) -> None:
        """Write one frame.

        Args:
            info: The frame.
            hidden: The frame could not be judged.
            people: The people on it and their gaze.

        Raises:
            OutputError: It can't be written.
        """
        entry = {
            "schema": SCHEMA,
            "source": self._source,
            "stream": info.stream,
            "frame": info.frame,
            "time": round(info.time, 6),
            "hidden": hidden,
            "people": [_person(gaze) for gaze in people],
            "mutual": mutual(people),
        }
        with output_errors_for("--jsonl"):
            self._file.write(json_text(entry, (",", ":")) + "\n")


def _person(gaze: Gaze) -> dict[str, Any]:
    kind = "person" if isinstance(gaze.looks_at, int) else "target"
    return {
        "track": gaze.track,
        "face": {side: round(getattr(gaze.face, side), DIGITS) for side in SIDES},
        "eye": _point(gaze.eye),
        "method": gaze.method,
        "in_frame": gaze.in_frame,
        "target": _point(gaze.target) if gaze.target else None,
        "looks_at": None if gaze.looks_at is None else {kind: gaze.looks_at},
    }


def _point(point: Point) -> dict[str, float]:
    return {"x": round(point.x, DIGITS), "y": round(point.y, DIGITS)}
