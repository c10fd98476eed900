"""Answers as rows of a table: one for each box and each point, and one for each caption and each reply.

An answer that found nothing has a row too, without label and place, so that what was looked at and found empty can be
told from what was not looked at. Columns that don't apply are empty (CSV) or null (Parquet):

input            the photo or video, as it was named
sha256           of the file's bytes, in hexadecimal
width, height    pixels, upright
time             seconds; only of a frame of a video
model, revision  that answered
settings         a short digest of all that has a say in the answers
milliseconds     that all answers about this input took
kind             "caption", "query", "detect" or "point"
asked            the length, question or prompt
text             the caption, or the answer to the question
reasoning        of a query, if the model reasoned
label            of the box or point
x_min, y_min, x_max, y_max   the box, in fractions of the upright picture, as the model gave it, not clipped
x, y             the point, likewise
score            of the box, from a model that has one
complete         of detect and point: false if a limit ended the list, so that there may be more
"""

from collections.abc import Iterator
from typing import Any

from mdtool.records.answers import PLACE, SIDES
from mdtool.records.batch import Record

INPUT_COLUMNS = ("input", "sha256", "width", "height", "time", "model", "revision", "settings", "milliseconds")
COLUMNS = (*INPUT_COLUMNS, "kind", "asked", "text", "reasoning", "label", *SIDES, *PLACE, "score", "complete")


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """Each has all columns; None where one does not apply."""
    about = {name: record.get(name) for name in INPUT_COLUMNS}
    for answer in record["answers"]:
        for told in _answer_rows(answer):
            row = {**dict.fromkeys(COLUMNS), **about, **told}
            yield {name: row[name] for name in COLUMNS}


def _answer_rows(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "caption" in answer:
        yield {"kind": "caption", "asked": answer.get("length"), "text": answer["caption"]}
    elif "question" in answer:
        reasoning = answer.get("reasoning")
        yield {"kind": "query", "asked": answer["question"], "text": answer["answer"], "reasoning": reasoning}
    else:
        kind, found = ("detect", "objects") if "objects" in answer else ("point", "points")
        asked = {"kind": kind, "asked": answer["prompt"], "complete": answer.get("complete")}
        for one in answer[found] or [{}]:
            yield asked | one
