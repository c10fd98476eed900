"""Boxes as a YOLO detection data set: a folder with

labels/      a text file for each picture, with a line for each box: class, and the box's centre x, centre y, width and
             height in fractions of the picture. No line: nothing was found. Of a frame of a video the name ends in
             its time in seconds
data.yaml    names: the label of each class by its number; train and val: "images"
classes.txt  the labels, a line each, from class 0 on

labels/ mirrors the tree in which the inputs lie below the folder that is common to all. So a copy of that folder, or a
link to it, with the name images/ beside labels/ makes the data set complete. Classes are numbered in the order of the
records. Inputs that were not asked for boxes have no file. Boxes are clipped to their picture.
"""

import json
import os
import tempfile
from pathlib import Path

from mdtool.console import one_line
from mdtool.errors import InputError, OutputError, output_errors_for
from mdtool.exports.boxes import clip_boxes, has_boxes
from mdtool.exports.paths import with_timestamp
from mdtool.media.files.atomic_folder import is_empty
from mdtool.records.batch import ExportCounts, Record, answered_records

DECIMALS = 6


def write_yolo(source: Path, folder: Path, overwrite: bool = False, settings: str | None = None) -> ExportCounts:
    """Made of a file of records, or of those with these settings. The folder is there when all is in it.

    It must be new, or empty, or one that this has made, if it is to be written over.

    InputError for a file that is none, and for two pictures whose names differ only in their endings: they have the
    same labels file. OutputError where it can't be written.
    """
    counts = ExportCounts()
    with output_errors_for(folder):
        if os.path.lexists(folder) and not (is_empty(folder) or (overwrite and _is_own(folder))):
            raise OutputError("exists already, and is no empty folder; give a new name")
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as part:
            made = Path(part, "made")
            tree = Path(part, "tree")
            made.mkdir()
            tree.mkdir()
            classes, common = _write_labels(source, tree, counts, settings)
            Path(tree, *common).rename(made / "labels")
            _write_names(list(classes), made)
            if folder.exists():
                folder.rename(Path(part, "old"))
            made.rename(folder)
    return counts


def _is_own(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {"labels", "data.yaml", "classes.txt", "images"}


def _write_labels(
    source: Path, tree: Path, counts: ExportCounts, settings: str | None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """(the number of each label, the folders that are common to all)."""
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
                f"{source}: {record['input']}: a picture before it has the same name but for the ending, "
                "and so the same labels file; rename one and ask about it again"
            ) from error
        common = tuple(folders) if common is None else _common(common, tuple(folders))
    return classes, common or ()


def _parts(name: str) -> tuple[str, ...]:
    """Of the path of an input, without what would lead out of a folder."""
    path = Path(os.path.normpath(name))
    return tuple("parent" if part == ".." else part for part in path.parts if part != path.anchor)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:same]


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
