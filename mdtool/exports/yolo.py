"""Boxes as a YOLO detection data set: a folder with

labels/      a text file per image, with a line per box: class, centre x, centre y, width and height of the box in
             normalised coordinates; empty without detections. Names of video frames end in the timestamp in seconds
data.yaml    names: the label of each class by its number; train and val: "images"
classes.txt  the labels, one per line, from class 0 on

labels/ mirrors the folder tree of the inputs below their common folder. A copy of that folder, or a link to it, named
images/ next to labels/ completes the data set. Classes are numbered in the order of the records. Inputs without a
detect answer have no file. Boxes are clipped to the image.
"""

import json
import os
import tempfile
from pathlib import Path

from mdtool.errors import InputError, OutputError, output_errors_for
from mdtool.escaping import one_line
from mdtool.exports.boxes import clip_boxes, has_boxes
from mdtool.exports.paths import with_timestamp
from mdtool.media.files.atomic_folder import is_empty
from mdtool.records.batch import ExportCounts, Record, answered_records

DECIMALS = 6


def write_yolo(source: Path, folder: Path, overwrite: bool = False, settings: str | None = None) -> ExportCounts:
    """Convert a file of batch records to a YOLO data set; the folder appears when it is complete.

    Args:
        source: The records (JSON Lines).
        folder: New or empty, or with `overwrite` one that this function has written.
        overwrite: Whether an existing data set may be replaced.
        settings: Export only the records with these settings.

    Raises:
        InputError: The source is not a file of records, or the names of two images differ only in the extension, so
            that they share a label file.
        OutputError: The folder can't be written.
    """
    counts = ExportCounts()
    with output_errors_for(folder):
        if os.path.lexists(folder) and not (is_empty(folder) or (overwrite and _is_dataset(folder))):
            raise OutputError("exists already, and is not an empty folder; give a new name")
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as part:
            dataset = Path(part, "dataset")
            tree = Path(part, "tree")
            dataset.mkdir()
            tree.mkdir()
            classes, common = _write_labels(source, tree, counts, settings)
            Path(tree, *common).rename(dataset / "labels")
            _write_names(list(classes), dataset)
            if folder.exists():
                folder.rename(Path(part, "old"))
            dataset.rename(folder)
    return counts


def _is_dataset(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {"labels", "data.yaml", "classes.txt", "images"}


def _write_labels(
    source: Path, tree: Path, counts: ExportCounts, settings: str | None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Write the label files; return the number of each label, and the path of the common folder."""
    classes: dict[str, int] = {}
    common: tuple[str, ...] | None = None
    for record in answered_records(source, counts, settings):
        if not has_boxes(record["answers"]):
            counts.skipped += 1
            continue
        counts.written += 1
        *folders, name = _parts(record["input"])
        path = Path(tree, *folders, with_timestamp(Path(name).stem, record.get("time")) + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="ascii") as file:
                file.write(_lines(record, classes))
        except FileExistsError as error:
            raise InputError(
                f"{source}: {record['input']}: another image has the same name with another extension, "
                "and so the same label file; rename one and run inference on it again"
            ) from error
        common = tuple(folders) if common is None else _common(common, tuple(folders))
    return classes, common or ()


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of an input's path, without root, and with `..` replaced so that it stays inside a folder."""
    path = Path(os.path.normpath(name))
    return tuple("parent" if part == ".." else part for part in path.parts if part != path.anchor)


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]


def _lines(record: Record, classes: dict[str, int]) -> str:
    lines = []
    for box in clip_boxes(record["answers"]):
        number = classes.setdefault(box.label, len(classes))
        centre = (box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2
        numbers = (*centre, box.x_max - box.x_min, box.y_max - box.y_min)
        lines.append(f"{number} {' '.join(f'{value:.{DECIMALS}f}' for value in numbers)}\n")
    return "".join(lines)


def _write_names(labels: list[str], folder: Path) -> None:
    names = [one_line(label) for label in labels]
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8", "backslashreplace")
    rows = [f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(names)]
    text = f"train: images\nval: images\nnames:{' {}' if not rows else ''}\n{''.join(rows)}"
    (folder / "data.yaml").write_text(text, "utf-8", "backslashreplace")
