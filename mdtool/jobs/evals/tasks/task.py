"""What a task is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.contract import Box, Point
from mdtool.jobs.evals.data.fields import field, optional
from mdtool.jobs.evals.data.parquet_pictures import bytes_of
from mdtool.jobs.evals.data.pictures import PictureFinder
from mdtool.jobs.evals.data.read_rows import Row
from mdtool.jobs.evals.sample import Entry, Figure, Picture, Sample, Scored

Prompts = Literal["reference", "lmms"]
PICTURE_ID = ("image_id", "imageId", "image_source")


@dataclass(frozen=True)
class RowContext:
    """What turns a row into samples.

    Attributes:
        number: Index of the row in the data set, from 0.
        file: That the row is in, whose name may say what it is of.
        pictures: Finds the row's picture.
        prompts: Whose wording of the questions: that of moondream's eval folder, or of lmms-eval.
    """

    number: int
    file: Path
    pictures: PictureFinder
    prompts: Prompts

    def picture(self, row: Row, name: str, *fields: str) -> Picture:
        """Return the picture of a row: the one that it holds, else the one that it names.

        Args:
            row: The row.
            name: What to call the picture if it has no name.
            fields: That may hold or name it, in order of preference.

        Raises:
            InputError: None of them does.
        """
        value = next((row[one] for one in fields if bytes_of(row.get(one))), None) or field(row, *fields)
        return self.pictures.picture(value, name, optional(row, *PICTURE_ID))


@dataclass(frozen=True)
class Judgement:
    """What an answer says, and how right it is.

    Attributes:
        answer: What the model said, as text or as a list.
        prediction: What is compared with the truth; None where the answer says nothing that could be.
        score: 0 (wrong) to 1 (right), or a distance.
        truth: What it was compared with, if not the sample's.
    """

    answer: Any
    prediction: Any
    score: float
    truth: Any = None


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: As on the command line.
        about: What it measures, in a few words.
        skill: That the model needs.
        samples: Makes samples of a row.
        judge: Scores an answer, by its entry in the record and the size of the picture in pixels.
        figures: Computes the figures of scored samples, the most important one first.
        wording: Where the wording of the questions is from, unless lmms-eval's is asked for.
        has_lmms_prompts: Whether lmms-eval has a wording of its own.
        is_distance: Scores are distances, so that less is better.
        package: That its figures need besides, from the extra "eval".
        drawn: Returns what is true and what the model said as boxes and points, in fractions of a picture of this size
            in pixels, to be drawn on it.
    """

    name: str
    about: str
    skill: str
    samples: Callable[[Row, RowContext], Iterator[Sample]]
    judge: Callable[[Sample, Entry, tuple[int, int]], Judgement]
    figures: Callable[[Sequence[Scored]], list[Figure]]
    wording: str
    has_lmms_prompts: bool = False
    is_distance: bool = False
    package: str | None = None
    drawn: Callable[[Scored, tuple[int, int]], list[Box | Point]] = lambda scored, size: []
