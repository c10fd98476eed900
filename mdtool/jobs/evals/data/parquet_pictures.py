"""Pictures in Parquet files: read by their place, and listed by the ids of their rows."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, UsageError

BATCH_ROWS = 16  # that are in memory at a time, each with its picture
OPEN_COLUMNS = 4  # that are kept open
IDS = ("id", "image_id", "imageId")
IMAGE = "image"
_lock = threading.Lock()


class NoPicturesById(InputError):
    """No Parquet file has columns with ids and pictures."""


@dataclass(frozen=True)
class PictureRow:
    """Where a picture stands: a file, a column in it, and the number of the row, from 0."""

    path: Path
    column: str
    number: int

    def read(self) -> bytes:
        """Return the bytes of the picture. Raises InputError if it can't be read, or has none."""
        with _lock, parquet_errors(self.path):
            data = bytes_of(_opened(self.path, self.column).value(self.number))
        if not data:
            raise InputError(f"{self.path}: row {self.number + 1} has no bytes of a picture")
        return data


def bytes_of(value: Any) -> bytes | None:
    """Return the bytes in a value of an image column: bytes, or as `datasets` writes them. None if it has none."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Raise what pyarrow says of a file as an InputError, or a UsageError if it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(f"{path}: Parquet needs pyarrow: pip install 'mdtool[parquet]'") from error
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: can't be read as Parquet: {str(error).partition(chr(10))[0]}") from error


def parquet_files(place: Path) -> list[Path]:
    """Return the Parquet files that a path stands for: itself, or all of a folder."""
    if place.is_dir():
        return sorted(place.rglob("*.parquet"))
    return [place] if place.suffix.lower() == ".parquet" else []


def pictures_by_id(files: Sequence[Path]) -> dict[str, PictureRow]:
    """Return where the pictures of files stand, by the ids of their rows; files that have none are left out.

    Raises:
        NoPicturesById: None of the files has columns with ids and pictures.
        InputError: A file can't be read.
        UsageError: pyarrow is not installed.
    """
    rows: dict[str, PictureRow] = {}
    faults: list[str] = []
    for path in files:
        with parquet_errors(path):
            from pyarrow import parquet

            with parquet.ParquetFile(path) as file:
                names = file.schema_arrow.names
                name = next((name for name in IDS if name in names), None)
                if name is None or IMAGE not in names:
                    faults.append(f"needs the columns id and {IMAGE}; it has {', '.join(names)}")
                    continue
                ids = file.read(columns=[name]).column(0).to_pylist()
        rows |= {str(one): PictureRow(path, IMAGE, number) for number, one in enumerate(ids)}
    if faults and len(faults) == len(files):
        raise NoPicturesById(f"{files[0]}: has no pictures by id: it {faults[0]}")
    return rows


class _Column:
    """A column that is read on from the last batch, or from the start of another row group."""

    def __init__(self, path: Path, name: str) -> None:
        from pyarrow import parquet

        self._file, self._name = parquet.ParquetFile(path), name
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._batches: Iterator[Any] = iter(())
        self._values: list[Any] = []
        self._first = -1  # number of the first row of these values

    def value(self, number: int) -> Any:
        """Return the value of a row; None if there is no such row."""
        group = max((i for i, start in enumerate(self._starts) if start <= number), default=0)
        if self._first < 0 or number < self._first or self._starts[group] > self._first + len(self._values):
            groups = range(group, len(self._starts))
            self._batches = self._file.iter_batches(BATCH_ROWS, row_groups=groups, columns=[self._name])
            self._first, self._values = self._starts[group], []
        while number >= self._first + len(self._values):
            self._first += len(self._values)
            self._values = next(self._batches).column(0).to_pylist()
        return self._values[number - self._first]


@lru_cache(OPEN_COLUMNS)
def _opened(path: Path, column: str) -> _Column:
    return _Column(path, column)
