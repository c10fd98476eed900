"""A sample of a data set, its scored answer, and the figures that many of them make."""

import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.contract import Request
from mdtool.errors import InputError
from mdtool.jobs.evals.data.parquet_pictures import PictureRow

Entry = dict[str, Any]  # of a record: the request and its result


@dataclass(frozen=True)
class Picture:
    """A picture of a data set: a file, or the bytes of one.

    Attributes:
        name: What messages and records call it.
        path: The file; None with `data` or `row`.
        data: The bytes of the file.
        row: Where it stands in a Parquet file.
        key: The same in all rows on the picture: its id in the set or the digest of the row's bytes, else its name.
    """

    name: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    row: PictureRow | None = None
    key: str = ""

    def is_same(self, other: "Picture") -> bool:
        """Return whether both are one picture: by their bytes if both are in a row, else by where they are."""
        if self.data is not None and other.data is not None:
            return self.data == other.data
        return self.path == other.path and self.row == other.row

    def without_bytes(self) -> "Picture":
        """Return the picture without its bytes, which another process then reads by itself."""
        return replace(self, data=None) if self.row else self

    def read(self) -> bytes:
        """Return the bytes of the file. Raises InputError if it can't be read."""
        if self.data is not None:
            return self.data
        if self.row:
            return self.row.read()
        path = self.path or Path(self.name)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device might have no end
                raise InputError(f"the picture {path} can't be read: it is no file")
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"the picture {path} can't be read: {error.strerror or error}") from error
        except ValueError as error:
            raise InputError(f"the picture {path} can't be read: {error}") from error


@dataclass(frozen=True)
class Sample:
    """One request of a data set, and the truth.

    Attributes:
        id: Unique in its set.
        picture: Which it is about.
        request: Without its image.
        truth: What the answer is compared with, of JSON types.
        unit: The same for samples that are not independent of each other: those of one picture, or of one group.
        groups: The subsets that it belongs to, for which figures are given too.
    """

    id: str
    picture: Picture
    request: Request
    truth: Any
    unit: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """A sample with its answer.

    Attributes:
        id: Of the sample.
        picture: Name of its picture.
        request: The question, or the prompt.
        truth: As in the sample; boxes and points in pixels.
        answer: What the model said, as text or as a list.
        prediction: What was compared with the truth; None where the answer says nothing that could be.
        score: 0 (wrong) to 1 (right), or a distance.
        unit: As in the sample.
        groups: As in the sample.
    """

    id: str
    picture: str
    request: str
    truth: Any
    answer: Any
    prediction: Any
    score: float
    unit: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A figure of an evaluation.

    Attributes:
        name: Such as "accuracy", or "accuracy (human)" for a subset.
        value: Mostly 0..1; None where there is nothing to compute it from.
        low: Lower end of its 95 % confidence interval; None: not computed.
        high: Its upper end.
        count: Number of samples behind it; for NaturalBench, of groups, questions or images.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    count: int
