"""Evaluates a model on a data set: reads samples, runs them, scores the answers, and sums them up."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from engine.contract import DetectRequest, GazeRequest, PointRequest, QueryRequest, Request
from mdtool.errors import InputError, NoInputFound, UsageError, record_fault
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.evals.check_boxes import check_boxes
from mdtool.jobs.evals.data.find_files import find_files
from mdtool.jobs.evals.data.pictures import PictureFinder
from mdtool.jobs.evals.data.read_rows import read_rows
from mdtool.jobs.evals.run_samples import Answered, SampleRunner
from mdtool.jobs.evals.sample import Figure, Sample, Scored
from mdtool.jobs.evals.tasks.task import Judgement, Prompts, RowContext, Task
from mdtool.model_selection import ComputeConfig
from mdtool.records.batch import Record
from mdtool.records.fingerprint import BATCH, fingerprint

NAMED_FAILURES = 5  # samples without an answer that are named on stderr, of which there may be thousands
FAILED_SCORE = 0.5  # below it an answer is shown among the failures
FAILED_DISTANCE = 0.2  # of the picture: above it


@dataclass(frozen=True)
class DataSet:
    """The samples that a model is evaluated on.

    Attributes:
        task: What they are.
        data: File, folder or glob.
        images: Folder of the images, if it is not that of the data.
        prompts: Whose wording of the questions.
        limit: Only so many samples, the first ones.
    """

    task: Task
    data: Path
    images: Path | None = None
    prompts: Prompts = "reference"
    limit: int | None = None


@dataclass(frozen=True)
class EvaluatedModel:
    """What is evaluated: a model of this name and revision, and how it computes."""

    name: str
    revision: str
    computing: ComputeConfig


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        scored: The samples that have an answer, in the order of the set.
        figures: The most important one first.
        failed: Samples without an answer, and why.
        asked: Number of samples that the model was asked in this run.
        pictures: Number of pictures that it was asked about.
        seconds: That it took.
    """

    scored: list[Scored]
    figures: list[Figure]
    failed: list[tuple[str, str]]
    asked: int
    pictures: int
    seconds: float


def check(data_set: DataSet) -> None:
    """Check before any work that the figures can be computed, and that there is a wording for the prompts.

    Raises:
        UsageError: A package is missing, or lmms-eval has no wording for such answers.
    """
    task = data_set.task
    check_package(task)
    if data_set.prompts == "lmms" and not task.has_lmms_prompts:
        raise UsageError(f"--prompts lmms: there is no wording of lmms-eval's for {task.name}; leave the option out")


def check_package(task: Task) -> None:
    """Check that the package is installed that the figures of a task need. Raises UsageError if it is not."""
    if task.package and not find_spec(task.package):
        raise UsageError(f"{task.name}: needs {task.package}: pip install 'mdtool[eval]'")


def samples_of(data_set: DataSet) -> Iterator[Sample]:
    """Read the samples of a data set; ids that come again get a number.

    Raises:
        InputError: It can't be read.
        NoInputFound: It holds no samples.
    """
    return islice(_samples(data_set), data_set.limit)


def _samples(data_set: DataSet) -> Iterator[Sample]:
    pictures, seen = PictureFinder(data_set.data, data_set.images), dict[str, int]()
    rows = Counter[Path]()  # that were read of each file
    for number, (file, row) in enumerate(read_rows(find_files(data_set.data))):
        rows[file] += 1
        try:
            samples = list(data_set.task.samples(row, RowContext(number, file, pictures, data_set.prompts)))
        except (InputError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            fault = record_fault(error)
            raise InputError(f"{file}: row {rows[file]} is none of {data_set.task.name}: {fault}") from error
        for sample in samples:
            seen[sample.id] = seen.get(sample.id, 0) + 1
            count = seen[sample.id]
            yield sample if count == 1 else _renamed(sample, f"{sample.id} ({count})")
    if not seen:
        raise NoInputFound(f"{data_set.data}: holds no samples of {data_set.task.name}")


def _renamed(sample: Sample, name: str) -> Sample:
    return Sample(name, sample.picture, sample.request, sample.truth, sample.unit, sample.groups)


def settings_of(data_set: DataSet, model: EvaluatedModel) -> str:
    """Return the fingerprint of what answers depend on, besides each sample's picture and request."""
    command = f"eval {data_set.task.name} --prompts {data_set.prompts}"
    return fingerprint(BATCH, command=command, model=model.name, revision=model.revision, computing=model.computing)


def evaluate_set(
    data_set: DataSet,
    run: SampleRunner,
    sink: Sink,
    common_fields: Record,
    *,
    progress: Progress,
    on_scored: Callable[[Sample, Scored], object] = lambda sample, scored: None,
) -> Evaluation:
    """Evaluate a model.

    Args:
        data_set: The samples.
        run: Asks the model.
        sink: Where its answers are logged, after `begin`.
        common_fields: Fields that all records have: `model`, `revision` and `settings`.
        progress: Counts samples, and prints why the first ones failed.
        on_scored: Called with each sample and its scored answer.

    Raises:
        EngineError: The model can't go on.
        InputError, NoInputFound: The data set can't be read, most boxes leave their pictures, or all samples failed.
        OutputError: The log can't be written.
    """
    if data_set.task.skill in ("detect", "point"):
        check_boxes(data_set.data, samples_of(data_set))
    places: dict[str, int] = {}
    scored: list[Scored] = []
    failed: list[tuple[str, str]] = []
    pictures, since = set[str](), time.perf_counter()

    def noted() -> Iterator[Sample]:
        for sample in samples_of(data_set):
            places[sample.id] = len(places)
            yield sample

    for outcome in run(noted(), sink, common_fields, on_wait=progress.tick):
        if isinstance(outcome, Answered):
            judgement = data_set.task.judge(outcome.sample, outcome.entry, outcome.size)
            one = _scored(outcome.sample, judgement)
            scored.append(one)
            on_scored(outcome.sample, one)
            if outcome.is_new:
                progress.processed += 1
                pictures.add(outcome.sample.picture.key)
            else:
                progress.skip()
        else:
            failed.append((outcome.sample.id, outcome.cause))
            progress.failed += 1
            if len(failed) <= NAMED_FAILURES:
                progress.console.error(f"{outcome.sample.id}: {outcome.cause}")
    seconds = time.perf_counter() - since
    if more := len(failed[NAMED_FAILURES:]):
        progress.console.error(
            f"{more} more samples have no answer; if their pictures are elsewhere, name the folder with --images"
        )
    scored.sort(key=lambda one: places[one.id])
    if not scored:
        raise InputError(f"{data_set.data}: no sample has an answer, so there is nothing to compute figures from")
    figures = data_set.task.figures(scored)
    if not figures:
        raise InputError(f"{data_set.data}: {data_set.task.name} has no figure for these samples alone; give more")
    return Evaluation(scored, figures, failed, progress.processed, len(pictures), seconds)


def is_failure(task: Task, scored: Scored) -> bool:
    """Return whether an answer is so wrong that it is shown among the failures."""
    return scored.score > FAILED_DISTANCE if task.is_distance else scored.score < FAILED_SCORE


def _scored(sample: Sample, judgement: Judgement) -> Scored:
    truth = sample.truth if judgement.truth is None else judgement.truth
    return Scored(
        sample.id, sample.picture.name, asked_in(sample.request), truth, judgement.answer, judgement.prediction,
        judgement.score, sample.unit, sample.groups,
    )  # fmt: skip


def asked_in(request: Request) -> str:
    """Return the question or prompt of a request, as text."""
    match request:
        case QueryRequest(question=question):
            return question
        case DetectRequest(prompt=prompt) | PointRequest(prompt=prompt):
            return prompt
        case GazeRequest(eye=(x, y)):
            return f"gaze of the eye at {x:.3f}, {y:.3f}"
    raise TypeError(f"no evaluation asks {request}")
