"""Batch records as table rows: one per box or point, and one per caption or answer to a question.

A detect or point answer without objects has a row too, without label and coordinates, which distinguishes it from an
input that was not analysed. Columns that don't apply are empty (CSV) or null (Parquet):

input            name of the image or video
sha256           of the file, in hexadecimal
width, height    pixels, upright
time             timestamp in seconds; video frames only
model, revision  of the model
settings         a short fingerprint of all settings that affect the answers
milliseconds     inference time of all answers on this input
kind             "caption", "query", "detect" or "point"
asked            the length, question or prompt
text             the caption, or the answer to the question
reasoning        of a query, if the model reasoned
label            of the box or point
x_min, y_min, x_max, y_max   the box, in normalised coordinates, not clipped
x, y             the point, in normalised coordinates
score            of the box, if the model gives one
complete         of detect and point: false if a limit ended the list, so that there may be more objects
"""

from collections.abc import Iterator
from typing import Any

from mdtool.records.answers import PLACE, SIDES
from mdtool.records.batch import Record

INPUT_COLUMNS = ("input", "sha256", "width", "height", "time", "model", "revision", "settings", "milliseconds")
COLUMNS = (*INPUT_COLUMNS, "kind", "asked", "text", "reasoning", "label", *SIDES, *PLACE, "score", "complete")


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """Yield the rows of a record, each with all columns; None where one does not apply."""
    common = {name: record.get(name) for name in INPUT_COLUMNS}
    for answer in record["answers"]:
        for cells in _answer_rows(answer):
            row = {**dict.fromkeys(COLUMNS), **common, **cells}
            yield {name: row[name] for name in COLUMNS}


def _answer_rows(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "caption" in answer:
        yield {"kind": "caption", "asked": answer.get("length"), "text": answer["caption"]}
    elif "question" in answer:
        reasoning = answer.get("reasoning")
        yield {"kind": "query", "asked": answer["question"], "text": answer["answer"], "reasoning": reasoning}
    else:
        kind, key = ("detect", "objects") if "objects" in answer else ("point", "points")
        common = {"kind": kind, "asked": answer["prompt"], "complete": answer.get("complete")}
        for item in answer[key] or [{}]:
            yield common | item
