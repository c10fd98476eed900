"""Answers as CSV (RFC 4180): UTF-8, commas, lines that end in CR LF, and a head with the names of the columns.

The columns are those of `mdtool.exports.rows`. Numbers have a point; complete is true or false.

A spreadsheet takes text for a formula that begins with = + - @ or their full-width forms, or with a tab or a line
break, and a formula can fetch pages and send what stands in other cells. What a model reads off a stranger's picture,
or a stranger's file name, can be such a text. So it gets an apostrophe in front, in this form alone: JSON Lines and
Parquet have the very text.
"""

import csv
from pathlib import Path
from typing import Any

from mdtool.errors import output_errors_for
from mdtool.exports.rows import COLUMNS, rows
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.records.batch import ExportCounts, answered_records

FORMULA = tuple("=+-@＝＋－＠\t\r\n")  # what a text begins with that a spreadsheet would run


def write_csv(source: Path, target: Path, overwrite: bool, settings: str | None = None) -> ExportCounts:
    """Made of a file of records, or of those with these settings.

    InputError for what is none, OutputError where it can't be written.
    """
    counts = ExportCounts()
    with output_errors_for(target), AtomicFile(target, overwrite) as whole:
        with whole.part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for record in answered_records(source, counts, settings):
                table.writerows([_cell(value) for value in row.values()] for row in rows(record))
                counts.written += 1
        whole.commit()
    return counts


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULA) else value
    return str(value)
