"""Runs the samples of a data set: pictures read ahead, requests batched, answers logged for a killed run to resume."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from engine.contract import Done, Failed, GazeRequest, Point, Request, TextDelta
from engine.generation.verbs import VisionModel
from mdtool.errors import InputError
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.jobs.batch.batch_records import failure_record, image_record
from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.jobs.batch.messages import ImageResult, ItemFailed
from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.each_input import error_message
from mdtool.jobs.evals.sample import Entry, Sample
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.read_ahead import READERS, PollTimeout, ReadResult, read_ahead
from mdtool.jobs.inference.requests import ImageRequest, stream_requests
from mdtool.media.image.decode_image import decode_image
from mdtool.media.sources.inputs import Input
from mdtool.records.answers import answer_entry
from mdtool.records.batch import Record
from mdtool.records.fingerprint import BATCH, digest

MAX_ON_ONE_PICTURE = 128  # samples whose requests share its encoding


@dataclass(frozen=True)
class Answered:
    """A sample that has an answer.

    Attributes:
        sample: The sample.
        entry: The request and its result, as in records.
        size: Width and height of the picture, in pixels.
        is_new: The model was asked in this run.
    """

    sample: Sample
    entry: Entry
    size: tuple[int, int]
    is_new: bool


@dataclass(frozen=True)
class Unanswered:
    """A sample that failed, and why, in one line."""

    sample: Sample
    cause: str


Outcome = Answered | Unanswered


class SampleRunner(Protocol):
    """Runs all samples that have no answer in the log, and logs the answers."""

    def __call__(
        self, samples: Iterable[Sample], sink: Sink, common_fields: Record, *, on_wait: Callable[[], object]
    ) -> Iterator[Outcome]:
        """Run samples.

        Args:
            samples: In the order of the set.
            sink: Where answers are logged, after `begin`.
            common_fields: Fields that all records have: `model`, `revision` and `settings`.
            on_wait: Called several times a second.

        Yields:
            The outcome of each sample, as soon as it is known.

        Raises:
            EngineError: The model can't go on.
            InputError: The data set can't be read.
            OutputError: The log can't be written.
        """


@dataclass(frozen=True, eq=False)
class _Read:
    """What was read for samples of one picture: their versions, which of them are due, and the pixels if any is."""

    versions: Sequence[ContentVersion]
    due: Sequence[int]
    pixels: np.ndarray | None


@dataclass(frozen=True, eq=False, kw_only=True)
class _SampleImage(InputImage):
    """A picture with the samples on it that are due, and their versions."""

    samples: Sequence[Sample]
    versions: Sequence[ContentVersion]


def run_samples(
    model: VisionModel,
    samples: Iterable[Sample],
    sink: Sink,
    common_fields: Record,
    *,
    on_wait: Callable[[], object] = lambda: None,
) -> Iterator[Outcome]:
    """Run samples in this process; see `SampleRunner`. Those of one picture in a row are run on one encoding of it."""
    outcomes: deque[Outcome] = deque()
    poll = PollTimeout()
    depth = max(READERS, model.image_batch_size)

    def read(group: Sequence[Sample]) -> _Read:
        data = group[0].picture.read()
        versions = [_version(sample, data) for sample in group]
        due = [i for i, sample in enumerate(group) if not _is_done(sink, sample, versions[i])]
        return _Read(versions, due, decode_image(data) if due else None)

    def images(groups: Iterable[ReadResult[Sequence[Sample], _Read] | None]) -> Iterator[_SampleImage | None]:
        for result in groups:
            if result is None:
                yield None
            elif result.value is None:
                cause = error_message(result.error or InputError(""))
                outcomes.extend(log_failure(sink, common_fields, sample, cause) for sample in result.item)
            else:
                group, got = result.item, result.value
                outcomes.extend(_logged(sink, sample) for i, sample in enumerate(group) if i not in got.due)
                if got.due:
                    due = [group[i] for i in got.due]
                    yield _SampleImage(
                        source=Input(None, Path(group[0].picture.name), named=group[0].picture.name),
                        pixels=got.pixels,
                        requests=tuple(sample.request for sample in due),
                        samples=due,
                        versions=[got.versions[i] for i in got.due],
                    )
            if outcomes:
                yield None  # so that they are yielded

    with closing(read_ahead(by_picture(samples), read, depth, poll_timeout=poll)) as groups:
        for request_and_event in stream_requests(images(groups), model, (), poll_timeout=poll):
            on_wait()
            raise_if_interrupted()
            if request_and_event:
                request, event = request_and_event
                if not isinstance(event, TextDelta):
                    outcomes.extend(_outcomes(sink, common_fields, request, event))
            while outcomes:
                yield outcomes.popleft()
        yield from outcomes


def by_picture(samples: Iterable[Sample]) -> Iterator[Sequence[Sample]]:
    """Group samples that follow each other and are on one picture."""
    group: list[Sample] = []
    for sample in samples:
        if group and (not sample.picture.is_same(group[0].picture) or len(group) == MAX_ON_ONE_PICTURE):
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


def _version(sample: Sample, data: bytes) -> ContentVersion:
    """Return the version of a sample: by its picture's bytes and its request, which its answer depends on."""
    request = sample.request
    asked = ["gaze", *request.eye] if isinstance(request, GazeRequest) else digest(BATCH, requests=(request,))
    return ContentVersion(hashlib.sha256(data + b"\0" + json.dumps(asked).encode()).hexdigest())


def _is_done(sink: Sink, sample: Sample, version: ContentVersion) -> bool:
    entry = sink.entry(sample.id)
    return entry is not None and entry.whole and entry.version.identity == version.identity


def answer_in_log(sink: Sink, sample: Sample) -> Outcome | None:
    """Return the answer that the log has for a sample; None if it has none, or of another picture or request."""
    if sink.entry(sample.id) is None:
        return None
    try:
        data = sample.picture.read()
    except InputError:  # whoever runs the sample will say so
        return None
    return _logged(sink, sample) if _is_done(sink, sample, _version(sample, data)) else None


def _logged(sink: Sink, sample: Sample) -> Outcome:
    record = sink.record_of(sample.id)
    assert record is not None  # as it is done
    return _outcome(sample, record, is_new=False)


def log_record(sink: Sink, sample: Sample, record: Record) -> Outcome:
    """Log the record of a sample, and return its outcome."""
    with deferred_interrupts():
        sink.add(record)
    return _outcome(sample, record, is_new=True)


def log_failure(sink: Sink, common_fields: Record, sample: Sample, cause: str) -> Outcome:
    """Log that a sample failed, and return that."""
    return log_record(sink, sample, failure_record(sample.id, common_fields, ItemFailed(0, "input", cause)))


def _outcome(sample: Sample, record: Record, *, is_new: bool) -> Outcome:
    if "error" in record:
        return Unanswered(sample, record["error"]["cause"])
    return Answered(sample, record["answers"][0], (record["width"], record["height"]), is_new)


def _outcomes(sink: Sink, common_fields: Record, asked: ImageRequest, event: Done | Failed) -> Iterator[Outcome]:
    image = asked.image
    assert isinstance(image, _SampleImage)
    if isinstance(event, Failed):
        concerned = image.samples if event.index < 0 else [image.samples[asked.number]]
        cause = error_message(event.error)
        yield from (log_failure(sink, common_fields, sample, cause) for sample in concerned)
        return
    sample, entry = image.samples[asked.number], _entry(asked.request, event)
    milliseconds = round(1000 * (time.perf_counter() - asked.since), 1)
    result = ImageResult(0, image.versions[asked.number], asked.size, milliseconds, [entry])
    yield log_record(sink, sample, image_record(sample.id, common_fields, result, made_outputs=()))


def _entry(request: Request, event: Done) -> Entry:
    """Return the entry of an answer in a record; a gaze target is the only one of a list of points."""
    if not isinstance(request, GazeRequest):
        return answer_entry(request, event.result)
    target = event.result
    points = [{"label": "gaze", "x": target.x, "y": target.y}] if isinstance(target, Point) else []
    return {"prompt": "gaze", "points": points, "complete": True}
