"""Answers as Apache Parquet: the columns of `mdtool.exports.rows`, Zstandard, in groups of ROWS rows.

width and height are int32; time, milliseconds, coordinates and score float64; complete is bool; all others are UTF-8
text. File names that are no text have their bytes escaped (\\udc80).
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
    """Made of a file of records, or of those with these settings.

    InputError for what is none, OutputError where it can't be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"{target}: Parquet needs pyarrow: pip install 'mdtool[parquet]'") from error
    schema = pyarrow.schema([(name, _kind(pyarrow, name)) for name in COLUMNS])
    counts = ExportCounts()

    def all_rows() -> Iterator[dict[str, Any]]:
        for record in answered_records(source, counts, settings):
            yield from map(_as_text, rows(record))
            counts.written += 1

    with output_errors_for(target), AtomicFile(target, overwrite) as whole:
        with whole.part.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            rest = all_rows()
            while group := list(islice(rest, ROWS)):
                writer.write_table(pyarrow.Table.from_pylist(group, schema))
        whole.commit()
    return counts


def _kind(pyarrow: Any, name: str) -> Any:
    if name in TEXTS:
        return pyarrow.string()
    if name == "complete":
        return pyarrow.bool_()
    return pyarrow.int32() if name in INTEGERS else pyarrow.float64()


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    """The same in Unicode, which names of files need not be."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
