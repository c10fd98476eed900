"""Reads the rows of a data set: JSON Lines, JSON in the layouts of the sets, COCO JSON, GazeFollow's table, Parquet.

A row is a mapping from the names of the set's own fields to values of JSON types, or to the bytes of a picture.
"""

import csv
import glob
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, NoInputFound, UsageError, record_fault
from mdtool.jobs.evals.data.class_labels import labelled_features, with_class_names
from mdtool.jobs.evals.data.parquet_pictures import BATCH_ROWS, PictureRow, bytes_of, parquet_errors

Row = dict[str, Any]
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".txt")
SHARD = re.compile(r"(?P<split>.+)-\d+-of-\d+(?:-[0-9a-f]+)?")  # `datasets` names files so
GAZEFOLLOW = (
    "path", "id", "body_x", "body_y", "body_width", "body_height", "eye_x", "eye_y", "gaze_x", "gaze_y",
    "head_x_min", "head_y_min", "head_x_max", "head_y_max", "origin", "meta",
)  # fmt: skip


def find_files(data: Path) -> list[Path]:
    """Return the files of a data set.

    Args:
        data: A file, a folder with files of one kind (those in its own folders too), or a glob.

    Raises:
        InputError: There is no such file or folder.
        NoInputFound: A folder holds no such file, or a glob matches none.
        UsageError: A folder holds several splits of a set.
    """
    if data.is_file():
        return [data]
    if not data.is_dir():
        matches = sorted(Path(name) for name in glob.glob(str(data), recursive=True))
        files = [path for path in matches if path.is_file()]
        if not files and glob.has_magic(str(data)):
            raise NoInputFound(f"{data}: no file matches")
        if not files:
            raise InputError(f"{data}: there is no such file or folder")
        return files
    for suffix in SUFFIXES:
        found = [path for path in sorted(data.rglob(f"*{suffix}")) if not path.name.startswith(".")]
        if suffix == ".txt":
            found = [path for path in found if "annotations" in path.name]
        if not found:
            continue
        splits = sorted({name["split"] for path in found if (name := SHARD.fullmatch(path.stem))})
        if len(splits) > 1:
            raise UsageError(
                f"--data {data}: holds the splits {', '.join(splits)}; name one, as in "
                f"'{found[0].parent}/{splits[0]}-*'"
            )
        return found
    raise NoInputFound(f"{data}: holds no {', '.join(SUFFIXES)} file")


def read_rows(files: Sequence[Path]) -> Iterator[Row]:
    """Read all rows of a data set's files.

    Raises:
        InputError: A file can't be read, or is of no known layout.
        UsageError: pyarrow is not installed, which Parquet needs.
    """
    if any(path.suffix.lower() == ".json" for path in files):
        yield from _json_rows(files)
        return
    for path in files:
        match path.suffix.lower():
            case ".parquet":
                yield from _parquet_rows(path)
            case ".jsonl" | ".ndjson":
                yield from _lines(path, _text(path))
            case ".txt" | ".csv":
                yield from _gazefollow_rows(path)
            case _:
                raise InputError(f"{path}: of no known kind; known are {', '.join(SUFFIXES)}")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error


def _lines(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: line {number} is {record_fault(error)}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {number} is no JSON object")
            yield row


def _json_rows(files: Sequence[Path]) -> Iterator[Row]:
    documents = [(path, _document(path)) for path in files if path.suffix.lower() == ".json"]
    answers: dict[Any, Row] = {}  # of VQA, which keeps them in a file of their own, by question
    if any(isinstance(document, dict) and "questions" in document for _, document in documents):
        if len(files) == 1:
            documents += [(path, _document(path)) for path in _answer_files(files[0])]
        for path, document in documents:
            if isinstance(document, dict) and "questions" not in document and "annotations" in document:
                answers |= {str(row.get("question_id")): row for row in _rows_in(path, document["annotations"])}
    for path, document in documents:
        match document:
            case list():
                yield from _rows_in(path, document)
            case {"questions": list(questions)}:
                for row in _rows_in(path, questions):
                    yield row | answers.get(str(row.get("question_id")), {})
            case {"images": list(), "annotations": list()}:
                yield from _coco_rows(path, document)
            case {"annotations": list()}:
                pass  # the answers of VQA
            case {"data": list(rows)}:
                yield from _rows_in(path, rows)
            case dict() if all(isinstance(row, dict) for row in document.values()):
                yield from ({"id": key} | row for key, row in document.items())
            case _:
                raise InputError(f"{path}: is of no known layout; JSON Lines has one sample a line")


def _document(path: Path) -> Any:
    """Return what a JSON file holds; of one with an object a line, as POPE's are, the list of these."""
    text = _text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.count("\n") and "Extra data" in str(error):
            return list(_lines(path, text))
        raise InputError(f"{path}: {record_fault(error)}") from error


def _rows_in(path: Path, rows: Any) -> list[Row]:
    if not isinstance(rows, list):
        raise InputError(f"{path}: is of no known layout; JSON Lines has one sample a line")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: entry {number} is no JSON object")
    return rows


def _answer_files(questions: Path) -> list[Path]:
    """Return the files of true answers beside a file of VQA's questions: of the same split, by their names."""
    split = next(iter(re.findall(r"(?:train|val|test)[\w-]*?\d{4}", questions.name)), "")
    return [path for path in sorted(questions.parent.glob("*annotations*.json")) if split in path.name]


def _coco_rows(path: Path, document: Row) -> Iterator[Row]:
    """Yield a row for each image: COCO's own fields, its annotations, and the names of all categories."""
    try:
        names = {row["id"]: row["name"] for row in document["categories"]}
        boxes: defaultdict[Any, list[Row]] = defaultdict(list)
        for row in document["annotations"]:
            boxes[row["image_id"]].append(
                {
                    "bbox": row["bbox"],
                    "label": names[row["category_id"]],
                    "crowd": bool(row.get("iscrowd", 0)),
                    "area": row.get("area"),
                }
            )
        for image in document["images"]:
            yield {
                "image": image["file_name"], "id": image["id"], "categories": list(names.values()),
                "objects": boxes[image["id"]],
            }  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no COCO JSON: {record_fault(error)}") from error


def _gazefollow_rows(path: Path) -> Iterator[Row]:
    """Yield a row for each image of GazeFollow's table, which has a line for each person who marked a gaze."""
    gazes: dict[str, list[Row]] = {}
    for number, values in enumerate(csv.reader(_text(path).splitlines()), 1):
        if not values:
            continue
        if len(values) < len(GAZEFOLLOW) - 2:
            raise InputError(f"{path}: line {number} has {len(values)} columns; GazeFollow's have {len(GAZEFOLLOW)}")
        row = dict(zip(GAZEFOLLOW, values, strict=False))
        try:
            head = [float(row[f"head_{side}"]) for side in ("x_min", "y_min", "x_max", "y_max")]
            eye, gaze = ({"x": float(row[f"{one}_x"]), "y": float(row[f"{one}_y"])} for one in ("eye", "gaze"))
        except ValueError as error:
            raise InputError(f"{path}: line {number}: {error}") from error
        gazes.setdefault(row["path"], []).append({"head_bbox": head, "eye": eye, "gaze": gaze})
    yield from ({"image": name, "gazes": marks} for name, marks in gazes.items())


def _parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, with the names of classes if it has them.

    Pictures are mappings with "bytes", "path", and "row", which is where they stand.
    """
    with parquet_errors(path):
        from pyarrow import parquet

        number = 0
        with parquet.ParquetFile(path) as file:
            features = labelled_features(file.schema_arrow.metadata)
            for batch in file.iter_batches(BATCH_ROWS):
                for row in batch.to_pylist():
                    yield with_class_names(row, features) | _pictures_in(row, path, number)
                    number += 1


def _pictures_in(row: Row, path: Path, number: int) -> Row:
    pictures = {name: (value, data) for name, value in row.items() if (data := bytes_of(value))}
    return {
        name: {
            "bytes": data,
            "path": value.get("path") if isinstance(value, dict) else None,
            "row": PictureRow(path, name, number),
        }
        for name, (value, data) in pictures.items()
    }
