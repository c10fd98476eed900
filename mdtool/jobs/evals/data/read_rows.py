"""Reads the rows of a data set: JSON Lines, JSON in the layouts of the sets, COCO JSON, GazeFollow's table, Parquet.

A row is a mapping from the names of the set's own fields to values of JSON types, or to the bytes of a picture.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, record_fault
from mdtool.jobs.evals.data.class_labels import labelled_features, with_class_names
from mdtool.jobs.evals.data.find_files import INSTANCES, SUFFIXES, pickle_error
from mdtool.jobs.evals.data.parquet_pictures import BATCH_ROWS, PictureRow, bytes_of, parquet_errors

Row = dict[str, Any]
QUESTIONS_FILE, ANSWERS_FILE = "v2_OpenEnded_*_questions.json", "v2_*_annotations.json"  # of VQAv2
GAZEFOLLOW = (
    "path", "id", "body_x", "body_y", "body_width", "body_height", "eye_x", "eye_y", "gaze_x", "gaze_y",
    "head_x_min", "head_y_min", "head_x_max", "head_y_max", "origin", "meta",
)  # fmt: skip


def read_rows(files: Sequence[Path]) -> Iterator[tuple[Path, Row]]:
    """Read all rows of a data set's files, each with its file.

    Raises:
        InputError: A file can't be read, or is of no known layout.
        UsageError: pyarrow is not installed, which Parquet needs; or a file is a pickle.
    """
    if any(path.suffix.lower() == ".json" for path in files):
        yield from _json_rows(files)
        return
    for path in files:
        match path.suffix.lower():
            case ".parquet":
                yield from ((path, row) for row in _parquet_rows(path))
            case ".jsonl" | ".ndjson":
                yield from ((path, row) for row in _lines(path, _text(path)))
            case ".txt" | ".csv":
                yield from ((path, row) for row in _gazefollow_rows(path))
            case ".p" | ".pkl" | ".pickle":
                raise pickle_error(path)
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
                raise InputError(f"{path}: line {number}: {record_fault(error)}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {number} is no JSON object")
            yield row


def _json_rows(files: Sequence[Path]) -> Iterator[tuple[Path, Row]]:
    documents = [(path, _document(path)) for path in files if path.suffix.lower() == ".json"]
    answers: dict[Any, Row] = {}  # of VQA, which keeps them in a file of their own, by question
    has_questions = any(isinstance(document, dict) and "questions" in document for _, document in documents)
    if has_questions:
        if len(files) == 1:
            documents += [(path, _document(path)) for path in _answer_files(files[0])]
        for path, document in documents:
            if _is_answers(document):
                answers |= {str(row.get("question_id")): row for row in _rows_in(path, document["annotations"])}
    for path, document in documents:
        if not (has_questions and _is_answers(document)):
            yield from ((path, row) for row in _rows_of(path, document, answers))


def _rows_of(path: Path, document: Any, answers: dict[Any, Row]) -> Iterator[Row]:
    """Yield the rows of a JSON document, those of VQA's questions with their answers."""
    match document:
        case list():
            yield from _rows_in(path, document)
        case {"questions": list(questions)}:
            rows = _rows_in(path, questions)
            if rows and not answers and not any(row.keys() & {"answer", "answers"} for row in rows):
                raise InputError(
                    f"{path}: has questions without answers, which are looked for in {ANSWERS_FILE} of the same split "
                    "beside it"
                )
            for row in rows:
                yield row | answers.get(str(row.get("question_id")), {})
        case {"data": list(rows)}:
            yield from _rows_in(path, rows)
        case {"images": list()} | {"categories": list()}:
            yield from _coco_rows(path, document)
        case {"annotations": list()} if _is_answers(document):
            raise InputError(f"{path}: has answers alone; name the file of the questions beside it, {QUESTIONS_FILE}")
        case dict() if all(isinstance(row, dict) for row in document.values()):
            yield from ({"id": key} | row for key, row in document.items())
        case _:
            raise InputError(f"{path}: is of no known layout; JSON Lines has one sample a line")


def _is_answers(document: Any) -> bool:
    """Return whether a document has the answers of VQA."""
    others = {"questions", "images", "categories"}
    return isinstance(document, dict) and "annotations" in document and not document.keys() & others


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
    if missing := [name for name in ("images", "annotations", "categories") if name not in document]:
        raise InputError(
            f"{path}: is COCO JSON without {' and '.join(missing)}; boxes are in {INSTANCES}*.json, which has all three"
        )
    try:
        names = {row["id"]: row["name"] for row in document["categories"]}
        boxes: dict[Any, list[Row]] = {row["id"]: [] for row in document["images"]}
        for number, row in enumerate(document["annotations"], 1):
            for name, known, listed in (("image", boxes, "images"), ("category", names, "categories")):
                if row[f"{name}_id"] not in known:
                    which, of = row.get("id", f"number {number}"), row[f"{name}_id"]
                    raise InputError(
                        f"{path}: annotation {which} is of the {name} {of}, which is not among its {listed}"
                    )
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
