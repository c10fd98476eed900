"""Boxes as COCO detection JSON (cocodataset.org), one object:

info         description
licenses     an empty list
images       id, file_name (name of the input), width, height; for a video frame also time (seconds)
annotations  id, image_id, category_id, bbox ([x, y, width, height] in pixels, from the top left corner), area (of the
             box, in pixels), iscrowd (0), segmentation (an empty list), and score if the model gives one
categories   id, name (the label)

Ids count from 1 in the order of the records, so that they are reproducible, and stable when records are appended.
Images without boxes are listed; inputs without a detect answer are not. Boxes are clipped to the image.
"""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from mdtool.errors import output_errors_for
from mdtool.exports.boxes import ClippedBox, clip_boxes, has_boxes
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.records.batch import ExportCounts, Record, answered_records
from mdtool.stdout import json_text

DECIMALS = 2  # of a pixel
HEAD = '{"info":{"description":"boxes that mdtool found"},"licenses":[],"images":['


def write_coco(source: Path, target: Path, overwrite: bool, settings: str | None = None) -> ExportCounts:
    """Convert a file of batch records to COCO.

    Args:
        source: The records (JSON Lines).
        target: The COCO file.
        overwrite: Whether an existing file may be replaced.
        settings: Export only the records with these settings.

    Raises:
        InputError: The source is not a file of records.
        OutputError: The target can't be written.
    """
    counts = ExportCounts()
    with output_errors_for(target), AtomicFile(target, overwrite) as output:
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
        with output.part.open("w", **text) as file, tempfile.TemporaryFile("w+", **text) as annotations:
            file.write(HEAD)
            categories = _write_images(answered_records(source, counts, settings), file, annotations, counts)
            file.write('\n],"annotations":[')
            annotations.seek(0)
            shutil.copyfileobj(annotations, file)
            file.write('\n],"categories":[')
            for label, number in categories.items():
                _put(file, {"id": number, "name": label}, number)
            file.write("\n]}\n")
        output.commit()
    return counts


def _write_images(
    records: Iterable[Record], file: IO[str], annotations: IO[str], counts: ExportCounts
) -> dict[str, int]:
    """Write images and annotations; return label -> category id."""
    categories: dict[str, int] = {}
    count = 0
    for record in records:
        if not has_boxes(record["answers"]):
            counts.skipped += 1
            continue
        counts.written += 1
        _put(file, _image(record, counts.written), counts.written)
        for box in clip_boxes(record["answers"]):
            count += 1
            category = categories.setdefault(box.label, len(categories) + 1)
            ids = {"id": count, "image_id": counts.written, "category_id": category}
            _put(annotations, ids | _annotation(box, record), count)
    return categories


def _image(record: Record, number: int) -> dict[str, Any]:
    image = {"id": number, "file_name": record["input"], "width": record["width"], "height": record["height"]}
    return image if record.get("time") is None else image | {"time": record["time"]}


def _annotation(box: ClippedBox, record: Record) -> dict[str, Any]:
    width, height = record["width"], record["height"]
    corner = box.x_min * width, box.y_min * height
    size = (box.x_max - box.x_min) * width, (box.y_max - box.y_min) * height
    annotation = {
        "bbox": [round(value, DECIMALS) for value in (*corner, *size)],
        "area": round(size[0] * size[1], DECIMALS),
        "iscrowd": 0,
        "segmentation": [],
    }
    return annotation if box.score is None else annotation | {"score": box.score}


def _put(file: IO[str], entry: dict[str, Any], number: int) -> None:
    """Append an entry to a JSON list; number: its position, from 1."""
    comma = "" if number == 1 else ","
    file.write(f"{comma}\n{json_text(entry, (',', ':'))}")
