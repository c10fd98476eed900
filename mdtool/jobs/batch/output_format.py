"""Where the records of a batch go, and the other forms that are made of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mdtool.errors import OutputError, UsageError, named
from mdtool.exports import coco
from mdtool.exports.coco import write_coco
from mdtool.exports.csv_table import write_csv
from mdtool.exports.parquet_table import write_parquet
from mdtool.exports.rows import COLUMNS
from mdtool.exports.yolo import write_yolo
from mdtool.jobs.batch.results_log import ResultsLog, Sink, Stream
from mdtool.records.batch import Tally
from mdtool.stdout import put

Writer = Callable[[Path, Path, bool, str | None], Tally]
WRITERS: dict[str, tuple[str, Writer]] = {  # what the name ends in
    "csv": (".csv", write_csv),
    "parquet": (".parquet", write_parquet),
    "coco": (".coco.json", write_coco),
    "yolo": (".yolo", write_yolo),
}


def place_of(out: str, command: str) -> Path | None:
    """A file, in a folder one named after the command; None: stdout."""
    if out == "-":
        return None
    return Path(out, f"{command}.jsonl") if out.endswith(os.sep) or os.path.isdir(out) else Path(out)


@contextmanager
def opened(place: Path | None, overwrite: bool) -> Iterator[Sink]:
    """A sink that has not begun, and that no other run writes to. OutputError where it can't be written."""
    if place is None:
        yield Stream(put)
    elif place.exists() and not place.is_file():  # a named pipe, or /dev/null
        with named(place), place.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as file:
            yield Stream(file.write)
    else:
        with ResultsLog(place, overwrite) as ledger:
            yield ledger


def check_form(place: Path, form: str, overwrite: bool) -> None:
    """OutputError if what would be made of the records is there, and was not made of records."""
    target = _target(place, form)
    if target == place:
        raise UsageError(f"--format {form}: would go to {place}, where the records are; give that another name")
    if target.exists() and not overwrite and not _is_own(target, form):
        raise OutputError(f"{target}: exists already; --overwrite replaces it")


def _is_own(target: Path, form: str) -> bool:
    if form == "yolo":
        return target.is_dir()  # its writer looks into it
    if form == "parquet":
        from pyarrow import ArrowInvalid, parquet

        try:
            return tuple(parquet.read_schema(target).names) == COLUMNS
        except (ArrowInvalid, OSError):
            return False
    begin = coco.HEAD if form == "coco" else ",".join(COLUMNS)
    with named(target), target.open("rb") as file:
        return file.read(len(begin)) == begin.encode()


def make_form(place: Path, form: str, settings: str) -> tuple[Path, Tally]:
    """What was made of the records with these settings, in place of what is there; and what is in it."""
    target = _target(place, form)
    return target, WRITERS[form][1](place, target, True, settings)


def _target(place: Path, form: str) -> Path:
    return place.with_suffix(WRITERS[form][0])
