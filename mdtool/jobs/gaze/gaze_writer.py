"""Where people look as data: JSON Lines, one object a frame (or photo), smoothed as it is drawn.

`mdtool.records.schemas` describes the fields.
"""

import json
from collections.abc import Sequence
from typing import Any

from engine.contract import Point
from mdtool.errors import output_errors_for
from mdtool.records.findings import SIDES, FrameInfo, Lines
from recipes.gaze import Gaze, mutual

SCHEMA = "mdtool.gaze/1"
DIGITS = 5


class GazeWriter:
    """Writes them as they are made."""

    def __init__(self, file: Lines, source: str) -> None:
        self._file = file
        self._source = source

    def write(self, info: FrameInfo, hidden: bool, people: Sequence[Gaze]) -> None:
        entry = {
            "schema": SCHEMA,
            "source": self._source,
            "stream": info.stream,
            "frame": info.frame,
            "time": round(info.time, 6),
            "hidden": hidden,
            "people": [_person(one) for one in people],
            "mutual": mutual(people),
        }
        with output_errors_for("--jsonl"):
            self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")


def _person(one: Gaze) -> dict[str, Any]:
    kind = "person" if isinstance(one.looks_at, int) else "target"
    return {
        "track": one.track,
        "face": {side: round(getattr(one.face, side), DIGITS) for side in SIDES},
        "eye": _place(one.eye),
        "method": one.method,
        "in_frame": one.in_frame,
        "target": _place(one.target) if one.target else None,
        "looks_at": None if one.looks_at is None else {kind: one.looks_at},
    }


def _place(point: Point) -> dict[str, float]:
    return {"x": round(point.x, DIGITS), "y": round(point.y, DIGITS)}
