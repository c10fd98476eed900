"""Runs the samples of an evaluation on the actors of a Ray cluster."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from mdtool.cluster.pool import Lost, Pool
from mdtool.cluster.ray_executor import check_same
from mdtool.jobs.batch.messages import Redone
from mdtool.jobs.batch.results_log import Sink, StreamSink
from mdtool.jobs.evals.evaluated_source import EvaluatedSource
from mdtool.jobs.evals.run_samples import Outcome, answer_in_log, by_picture, log_failure, log_record, run_samples
from mdtool.jobs.evals.sample import Sample
from mdtool.records.batch import Record

WINDOW = 1 << 16  # samples of one dataset: this process holds no more, and no pictures
MAX_CHUNK = 32
CHUNKS_EACH = 8  # at least for each actor, so that they end at about the same time


@dataclass(frozen=True)
class SamplesSetup:
    """What an actor needs for an evaluation; the model must be the one of `common_fields`."""

    source: EvaluatedSource
    common_fields: Record

    def start(self) -> Callable[[Sequence[Sample]], list[str]]:
        """Load the model, and return what makes records of samples. Raises MdtoolError for another model."""
        model = self.source.load()
        check_same(model, (self.common_fields["model"], self.common_fields["revision"]))

        def run(samples: Sequence[Sample]) -> list[str]:
            lines: list[str] = []
            for _ in run_samples(model, samples, StreamSink(lines.append), self.common_fields):
                pass
            return lines

        return run


@dataclass(frozen=True)
class RaySamples:
    """A `SampleRunner` on a pool of actors, which read the pictures by themselves.

    Attributes:
        pool: The actors.
        source: The model that each of them loads.
    """

    pool: Pool
    source: EvaluatedSource

    def __call__(
        self, samples: Iterable[Sample], sink: Sink, common_fields: Record, *, on_wait: Callable[[], object]
    ) -> Iterator[Outcome]:
        """Run samples; see `SampleRunner`."""
        left = iter(samples)
        while window := list(islice(self._due(left, sink, on_wait), WINDOW)):
            yield from (one for one in window if not isinstance(one, Sample))
            due = [one for one in window if isinstance(one, Sample)]
            yield from self._run(due, sink, common_fields, on_wait=on_wait)

    def _due(self, samples: Iterator[Sample], sink: Sink, on_wait: Callable[[], object]) -> Iterator[Sample | Outcome]:
        """Yield what the log has of each sample, or the sample without the bytes of its picture."""
        for sample in samples:
            on_wait()
            yield answer_in_log(sink, sample) or replace(sample, picture=sample.picture.without_bytes())

    def _run(
        self, samples: Sequence[Sample], sink: Sink, common_fields: Record, *, on_wait: Callable[[], object]
    ) -> Iterator[Outcome]:
        by_id = {sample.id: sample for sample in samples}
        size = min(MAX_CHUNK, max(1, len(samples) // (CHUNKS_EACH * self.pool.share.actors)))
        for done in self.pool.run(SamplesSetup(self.source, common_fields), list(_chunks(samples, size))):
            match done:
                case None | Redone():
                    on_wait()
                case Lost(items=lost, tries=tries):
                    cause = f"its process ended without a result; tries: {tries}"
                    yield from (log_failure(sink, common_fields, sample, cause) for sample in lost)
                case _:
                    for line in done:
                        record = json.loads(line)
                        yield log_record(sink, by_id[record["input"]], record)


def _chunks(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Yield chunks of about `size` samples; those of one picture in a row stay together."""
    chunk: list[Sample] = []
    for group in by_picture(samples):
        chunk += group
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
