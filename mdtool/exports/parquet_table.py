"""Answers as Apache Parquet: the columns of `mdtool.exports.rows`, Zstandard compression, row groups of ROWS rows.

width and height are int32; time, milliseconds, coordinates and score float64; complete is bool; all others are UTF-8
strings. In file names that are not valid Unicode, bytes are escaped (\\udc80).
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mdtool.errors import UsageError, output_errors_for
from mdtool.exports.rows import COLUMNS, rows
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.records.batch import ExportCounts, answered_records

ROWS = 20_000  # in memory at a time
INTEGERS = {"width", "height"}
TEXTS = {"input", "sha256", "model", "revision", "settings", "kind", "asked", "text", "reasoning", "label"}


def write_parquet(source: Path, target: Path, overwrite: bool, settings: str | None = None) -> ExportCounts:
    """Convert a file of batch records to Parquet.

    Args:
        source: The records (JSON Lines).
        target: The Parquet file.
        overwrite: Whether an existing file may be replaced.
        settings: Export only the records with these settings.

    Raises:
        UsageError: pyarrow is not installed.
        InputError: The source is not a file of records.
        OutputError: The target can't be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"{target}: Parquet needs pyarrow: pip install 'mdtool[parquet]'") from error
    schema = pyarrow.schema([(name, _type(pyarrow, name)) for name in COLUMNS])
    counts = ExportCounts()

    def all_rows() -> Iterator[dict[str, Any]]:
        for record in answered_records(source, counts, settings):
            yield from map(_as_unicode, rows(record))
            counts.written += 1

    with output_errors_for(target), AtomicFile(target, overwrite) as output:
        with output.part.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            remaining = all_rows()
            while group := list(islice(remaining, ROWS)):
                writer.write_table(pyarrow.Table.from_pylist(group, schema))
        output.commit()
    return counts


def _type(pyarrow: Any, name: str) -> Any:
    if name in TEXTS:
        return pyarrow.string()
    if name == "complete":
        return pyarrow.bool_()
    return pyarrow.int32() if name in INTEGERS else pyarrow.float64()


def _as_unicode(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row in valid Unicode, which file names need not be."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
