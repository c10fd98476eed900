"""Where people look as data: JSON Lines, one object a frame (or photo), smoothed as it is drawn.

schema    "mdtool.gaze/1"
source    the input, as it was named
stream    index of the video stream in the file; 0 for photos and animations
frame     counts the frames of that stream from 0
time      seconds
hidden    true: the frame could not be judged, so that nothing is known of the people on it
people    each with track (the same number for the same person on all frames), face (x_min, y_min, x_max, y_max) and eye
          (x, y; the place whose gaze was asked for, the middle of the face), method ("model", or "head" for the
          direction of the head), in_frame (false: looks out of the picture; null: not known), target (x, y; null where
          none is in the picture; of a head the end of the line that is looked along), and looks_at: {"person": track},
          {"target": label}, or null
mutual    [track, track] of each two who look at each other

All places are fractions of the displayed picture, origin top left.
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
