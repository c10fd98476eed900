"""Writes gazes as JSON Lines, one object per frame or image, smoothed as they are drawn.

schema    "mdtool.gaze/1"
source    the input, as it was named
stream    index of the video stream in the file; 0 for still images and animations
frame     index of the frame in that stream, from 0
time      seconds
hidden    true: the frame could not be judged, so that nothing is known of the people on it
people    each with track (the same number for the same person on all frames), face (x_min, y_min, x_max, y_max), eye
          (x, y; the origin of the gaze, the center of the face), method ("model", or "head" for the direction of the
          head), in_frame (false: looks out of the frame; null: not known), target (x, y; null if none is in the frame;
          for a head direction the end of its ray), and looks_at: {"person": track}, {"target": label}, or null
mutual    [track, track] of each two who look at each other

All coordinates are fractions of the displayed frame, origin top left.
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
    """Writes the gazes of one input."""

    def __init__(self, file: Lines, source: str) -> None:
        self._file = file
        self._source = source

    def write(self, info: FrameInfo, hidden: bool, people: Sequence[Gaze]) -> None:
        """Write one frame.

        Args:
            hidden: The frame could not be judged.

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
            self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")


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
