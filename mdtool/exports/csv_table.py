"""Answers as CSV (RFC 4180): UTF-8, commas, CR LF line ends, and a header row.

The columns are those of `mdtool.exports.rows`. Numbers have a decimal point; complete is true or false.

Against CSV injection, text that a spreadsheet would evaluate as a formula gets a leading apostrophe: text that begins
with = + - @, their full-width forms, a tab or a line break. Such text can come from an untrusted image or file name.
JSON Lines and Parquet contain the original text.
"""

import csv
from pathlib import Path
from typing import Any

from mdtool.errors import output_errors_for
from mdtool.exports.rows import COLUMNS, rows
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.records.batch import ExportCounts, answered_records

FORMULA = tuple("=+-@＝＋－＠\t\r\n")  # first characters of text that a spreadsheet would evaluate


def write_csv(source: Path, target: Path, overwrite: bool, settings: str | None = None) -> ExportCounts:
    """Convert a file of batch records to CSV.

    Args:
        source: The records (JSON Lines).
        target: The CSV file.
        overwrite: Whether an existing file may be replaced.
        settings: Export only the records with these settings.

    Raises:
        InputError: The source is not a file of records.
        OutputError: The target can't be written.
    """
    counts = ExportCounts()
    with output_errors_for(target), AtomicFile(target, overwrite) as output:
        with output.part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for record in answered_records(source, counts, settings):
                table.writerows([_cell(value) for value in row.values()] for row in rows(record))
                counts.written += 1
        output.commit()
    return counts


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULA) else value
    return str(value)
