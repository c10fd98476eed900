"""Opens the output of a batch, and exports its records to CSV, Parquet, COCO or YOLO."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mdtool.errors import OutputError, UsageError, output_errors_for
from mdtool.exports import coco
from mdtool.exports.coco import write_coco
from mdtool.exports.csv_table import write_csv
from mdtool.exports.parquet_table import write_parquet
from mdtool.exports.rows import COLUMNS
from mdtool.exports.yolo import write_yolo
from mdtool.jobs.batch.results_log import ResultsLog, Sink, StreamSink
from mdtool.records.batch import ExportCounts
from mdtool.stdout import write_stdout

Writer = Callable[[Path, Path, bool, str | None], ExportCounts]
WRITERS: dict[str, tuple[str, Writer]] = {  # suffix and writer of each format
    "csv": (".csv", write_csv),
    "parquet": (".parquet", write_parquet),
    "coco": (".coco.json", write_coco),
    "yolo": (".yolo", write_yolo),
}


def records_path(out: str, command: str) -> Path | None:
    """Return the path of the records; None: stdout.

    Args:
        out: A file; a folder, in which the file is named after the command; or "-" for stdout.
        command: Name of the command.
    """
    if out == "-":
        return None
    return Path(out, f"{command}.jsonl") if out.endswith(os.sep) or os.path.isdir(out) else Path(out)


@contextmanager
def open_sink(place: Path | None, overwrite: bool) -> Iterator[Sink]:
    """Open a sink, on which `begin` has yet to be called and which no other run writes to.

    Args:
        place: The file; None: stdout.
        overwrite: Replace the records in it.

    Raises:
        OutputError: It can't be written.
    """
    if place is None:
        yield StreamSink(write_stdout)
    elif place.exists() and not place.is_file():  # a named pipe, or /dev/null
        with (
            output_errors_for(place),
            place.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        ):
            yield StreamSink(file.write)
    else:
        with ResultsLog(place, overwrite) as log:
            yield log


def check_export_target(place: Path, export_format: str, overwrite: bool) -> None:
    """Check that the export of the records at `place` can be written.

    Raises:
        UsageError: The export would replace the records.
        OutputError: There is something else than an earlier export.
    """
    target = _target(place, export_format)
    if target == place:
        raise UsageError(
            f"--format {export_format}: would be written to {place}, which holds the records; give --jsonl another name"
        )
    if target.exists() and not overwrite and not _is_earlier_export(target, export_format):
        raise OutputError(f"{target}: exists already; --overwrite replaces it")


def _is_earlier_export(target: Path, export_format: str) -> bool:
    if export_format == "yolo":
        return target.is_dir()  # the writer checks what is in it
    if export_format == "parquet":
        from pyarrow import ArrowInvalid, parquet

        try:
            return tuple(parquet.read_schema(target).names) == COLUMNS
        except (ArrowInvalid, OSError):
            return False
    head = coco.HEAD if export_format == "coco" else ",".join(COLUMNS)
    with output_errors_for(target), target.open("rb") as file:
        return file.read(len(head)) == head.encode()


def write_export(place: Path, export_format: str, settings: str) -> tuple[Path, ExportCounts]:
    """Export the records with these settings, in place of an earlier export.

    Args:
        place: The file of records.
        export_format: A key of `WRITERS`.
        settings: Fingerprint of the records to export.

    Returns:
        The path of the export, and how many inputs are in it.
    """
    target = _target(place, export_format)
    return target, WRITERS[export_format][1](place, target, True, settings)


def _target(place: Path, export_format: str) -> Path:
    return place.with_suffix(WRITERS[export_format][0])
