"""Our own format of ground truth: JSON with the boxes of every frame."""

import json
from pathlib import Path
from typing import Any

from engine.contract import normalize_prompt
from mdtool.errors import InputError, read_error_message, record_fault
from mdtool.jobs.evals.ground_truth.truth import GroundTruth, TrueFrame, TrueObject, checked_box, checked_part


def read_own_json(path: Path) -> GroundTruth:
    """Read a JSON file with "frames", one for each frame of the clip: "time" in seconds, and "boxes".

    A box has "id" and "xyxy" in pixels of the displayed frame. It may have a "label", "visible", the part of the object
    that is not occluded, and "attributes", such as {"pose": "profile"}.

    Raises:
        InputError: It can't be read, or is none.
    """
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
        return GroundTruth(path, tuple(_frame(frame) for frame in frames))
    except OSError as error:
        raise InputError(f"{path}: {read_error_message(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not a ground truth file ({record_fault(error)})") from error


def _frame(frame: dict[str, Any]) -> TrueFrame:
    return TrueFrame(tuple(_object(box) for box in frame["boxes"]), float(frame["time"]))


def _object(box: dict[str, Any]) -> TrueObject:
    x_min, y_min, x_max, y_max = (float(side) for side in box["xyxy"])
    label = box.get("label")
    if label is not None:
        normalize_prompt(label)  # raises for what is no text
    return TrueObject(
        int(box["id"]),
        checked_box(x_min, y_min, x_max, y_max),
        label,
        checked_part(float(box.get("visible", 1))),
        {str(name): str(value) for name, value in box.get("attributes", {}).items()},
    )
