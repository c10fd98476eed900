"""Where the records of a batch go, and the other forms that are made of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mdtool.errors import OutputError
from mdtool.forms.coco import write_coco
from mdtool.forms.records import Tally
from mdtool.forms.table_csv import write_csv
from mdtool.forms.table_parquet import write_parquet
from mdtool.forms.yolo import write_yolo
from mdtool.jobs.batch.ledger import Ledger, Sink, Stream
from mdtool.media.whole_file import named
from mdtool.stdout import put

WRITERS: dict[str, Callable[[Path, Path, bool], Tally]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "coco": write_coco,
    "yolo": write_yolo,
}
ENDINGS = {"csv": ".csv", "parquet": ".parquet", "coco": ".coco.json", "yolo": ".yolo"}


def place_of(out: str, command: str) -> Path | None:
    """A file, in a folder one named after the command; None: stdout."""
    if out == "-":
        return None
    return Path(out, f"{command}.jsonl") if out.endswith(os.sep) or os.path.isdir(out) else Path(out)


@contextmanager
def opened(place: Path | None, settings: str, overwrite: bool) -> Iterator[Sink]:
    """settings: the digest that records have for which work is done. OutputError where it can't be written."""
    if place is None:
        yield Stream(put)
    elif place.exists() and not place.is_file():  # a named pipe, or /dev/null
        with named(place), place.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as file:
            yield Stream(file.write)
    else:
        with Ledger(place, settings, overwrite) as ledger:
            yield ledger


def check_new(place: Path, form: str) -> None:
    """OutputError if what would be made of the records is there."""
    target = place.with_suffix(ENDINGS[form])
    if target.exists():
        raise OutputError(f"{target}: exists already; --overwrite replaces it")


def make_form(place: Path, form: str) -> tuple[Path, Tally]:
    """What was made of the records, in place of what is there; and what is in it."""
    target = place.with_suffix(ENDINGS[form])
    return target, WRITERS[form](place, target, True)
