"""Runs a batch: gives inputs to workers, writes a record for each, and resumes where an earlier run stopped."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from queue import SimpleQueue

from mdtool.errors import ExitCode, MdtoolError
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.jobs.batch.batch_records import duplicate_record, failure_record, image_record, video_record
from mdtool.jobs.batch.executor import Executor
from mdtool.jobs.batch.messages import (
    AddedSideOutputs,
    BatchTask,
    DeadlineReached,
    Duplicate,
    Ending,
    FileStillChanging,
    FrameFailed,
    FrameResult,
    ImageResult,
    InputWait,
    ItemFailed,
    PriorResult,
    Redone,
    Result,
    Unchanged,
    VideoResult,
    WorkItem,
)
from mdtool.jobs.batch.ordered_writer import OrderedWriter, Write
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.batch.work_queue import WorkQueue
from mdtool.jobs.crash_journal import CrashJournal
from mdtool.media.sources.discover import Selection
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.stages import POLL_SECONDS, Idle, prefetch_with_idle
from mdtool.records.batch import Record
from mdtool.records.findings import FindingsWriter


@dataclass(frozen=True)
class BatchLimits:
    """When a batch stops early.

    Attributes:
        errors: Stop once more inputs than this have failed.
        seconds: Time budget, after which no other input, or frame of a video, is started.
    """

    errors: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class BatchPlan:
    """The inputs of a batch, and how their records are written.

    Attributes:
        common_fields: Fields that all records have, `model` and `settings` among them.
        ordered: Write records in the order of the inputs.
        watch: Keep watching for new and changed inputs.
    """

    selection: Selection
    common_fields: Record
    limits: BatchLimits = BatchLimits()
    ordered: bool = False
    watch: bool = False


@dataclass
class InFlight:
    """An item that a worker is processing.

    Attributes:
        original_record: Record of an image with the same bytes, whose answers this item reuses.
        duplicates: Images with the same bytes, which wait for the answers of this one.
        findings: Writes the findings of its frames.
    """

    item: WorkItem
    original_record: Record | None = None
    duplicates: list[Duplicate] = field(default_factory=list)
    findings: FindingsWriter | None = None

    @property
    def name(self) -> str:
        """The input's name."""
        return self.item.source.name


class Coordinator:
    """Schedules the items of a batch, and writes the results that workers return."""

    def __init__(
        self,
        plan: BatchPlan,
        task: BatchTask,
        executor: Executor,
        sink: Sink,
        *,
        progress: Progress,
        journal: CrashJournal | None = None,
    ) -> None:
        self._journal = journal or CrashJournal(None)
        self._plan, self._executor, self._sink, self._progress = plan, executor, sink, progress
        self._task = replace(task, watch=plan.watch)
        self._side_output_kinds = task.side_outputs.kinds
        self._in_flight: dict[int, InFlight] = {}
        self._in_progress: set[str] = set()  # the names of those in flight
        self._requeued: SimpleQueue[WorkItem] = SimpleQueue()  # items that go to a worker once more
        self._names_by_digest: dict[str, str] = {}  # with dedupe: an input that has answers, by SHA-256
        self._ordered_writer = OrderedWriter() if plan.ordered else None
        self._work = WorkQueue(
            plan.selection,
            sink,
            progress,
            task.side_outputs,
            in_progress=self._in_progress,
            watch=plan.watch,
            seconds=plan.limits.seconds,
        )

    def run(self) -> ExitCode:
        """Process all inputs, and return the exit code.

        Raises:
            OutputError: Records can't be written.
            MdtoolError: Too many inputs failed.
            EngineError: No worker can continue.
        """
        progress, seconds = self._progress, self._plan.limits.seconds
        if self._task.dedupe:
            self._names_by_digest |= {entry.version.sha256: name for name, entry in self._sink.entries() if entry.whole}
        deadline = None if seconds is None else time.time() + seconds - progress.seconds
        task = replace(self._task, deadline=deadline, known_digests=frozenset(self._names_by_digest))
        with progress.shown(), closing(self._executor.run(task, self._items())) as results:
            try:
                for result in results:
                    raise_if_interrupted()
                    progress.tick()
                    self._process(result)
            finally:
                self._work.stop()
        progress.console.note(progress.summary())
        if self._work.incomplete:
            progress.console.note("time budget used up; run the same command again to continue")
            return ExitCode.INCOMPLETE
        return ExitCode.SOME_FAILED if progress.failed else ExitCode.OK

    # -- items for the workers

    def _items(self) -> Iterator[WorkItem | Idle]:
        numbers = count()
        if not self._task.dedupe:
            for source in self._work:
                yield from self._start(next(numbers), source)
            return
        with closing(prefetch_with_idle(self._work, 1)) as sources:
            for source_or_idle in sources:
                yield from self._requeued_items()
                if isinstance(source_or_idle, Idle):
                    yield source_or_idle
                else:
                    yield from self._start(next(numbers), source_or_idle)
        yield from self._rest()

    def _rest(self) -> Iterator[WorkItem | Idle]:
        """Wait until nothing is in flight."""
        while self._in_flight:
            yield from self._requeued_items()
            yield Idle()
            time.sleep(POLL_SECONDS / 10)

    def _start(self, number: int, source: Input) -> Iterator[WorkItem | Idle]:
        """Yield the item of an input: alone if it was at work in a crash, so that another one has one cause."""
        alone = self._journal.is_suspect(source)
        if alone:
            yield from self._rest()
        if crash := self._journal.crash_of(source):
            source = replace(source, failed=crash)
        else:
            self._journal.begin(source)
        yield self._start_item(number, source)
        if alone:
            yield from self._rest()

    def _requeued_items(self) -> Iterator[WorkItem]:
        while not self._requeued.empty():
            yield self._requeued.get()

    def _start_item(self, number: int, source: Input) -> WorkItem:
        item = WorkItem(number, source, self._prior_result(source.name))
        self._in_progress.add(source.name)
        self._in_flight[number] = InFlight(item)
        return item

    def _prior_result(self, name: str) -> PriorResult | None:
        entry = self._sink.entry(name)
        if not entry:
            return None
        lacks_side_outputs = not self._task.side_outputs.is_made(entry.made_outputs)
        record = self._sink.record_of(name) if entry.whole and lacks_side_outputs else None
        answers = None if record is None or "frames" in record else record["answers"]
        times = frozenset(entry.times or ())
        return PriorResult(
            entry.version.identity, entry.whole, bool(entry.incomplete), lacks_side_outputs, answers, times
        )

    def _requeue(self, flight: InFlight, item: WorkItem) -> None:
        flight.item = item
        self._requeued.put(item)

    # -- results of the workers

    def _process(self, result: Result) -> None:
        match result:
            case InputWait(seconds=seconds):
                self._progress.wait_seconds += seconds
            case Redone(items=items):
                self._progress.redone += items
            case FrameFailed(number=number, place=place):
                self._write(number, place, None)
            case FrameResult(number=number, place=place):
                self._write(number, place, partial(self._write_findings, self._in_flight[number], result))
            case ImageResult(time=float()):
                record = image_record(
                    self._in_flight[result.number].name,
                    self._plan.common_fields,
                    result,
                    made_outputs=self._side_output_kinds,
                )
                self._write(result.number, result.place, partial(self._add, record))
            case Duplicate():
                self._take_duplicate(result)
            case _:
                self._end(result)

    def _end(self, result: Ending) -> None:
        """Process the last result of an item."""
        flight, common_fields = self._in_flight[result.number], self._plan.common_fields
        match result:
            case ImageResult():
                record = image_record(flight.name, common_fields, result, made_outputs=self._side_output_kinds)
                self._end_with(result, partial(self._add, record))
                self._progress.processed += 1
                if self._task.dedupe:
                    self._names_by_digest[result.version.sha256] = flight.name
                for duplicate in flight.duplicates:
                    self._finish_duplicate(duplicate, record)
            case AddedSideOutputs():
                original_record = flight.original_record or self._sink.record_of(flight.name)
                assert original_record
                record = duplicate_record(
                    flight.name, common_fields, result.version, original_record, made_outputs=self._side_output_kinds
                )
                self._end_with(result, partial(self._add, record))
                self._progress.processed += 1
            case VideoResult():
                record = video_record(flight.name, common_fields, result, made_outputs=self._side_output_kinds)
                self._end_with(result, partial(self._add, record))
                if result.incomplete:
                    self._count_incomplete(flight, result.incomplete)
                else:
                    self._progress.processed += 1
            case Unchanged():
                entry = self._sink.entry(flight.name)
                assert entry
                self._sink.refresh(flight.name, result.version)
                self._end_with(result, None)
                if entry.incomplete:
                    self._count_incomplete(flight, entry.incomplete)
                else:
                    self._progress.skip()
            case ItemFailed():
                for number in (result.number, *(duplicate.number for duplicate in flight.duplicates)):
                    self._fail(replace(result, number=number))
            case DeadlineReached():
                self._work.incomplete = True
                self._end_with(result, None)
            case FileStillChanging():
                self._end_with(result, None)

    def _take_duplicate(self, duplicate: Duplicate) -> None:
        if duplicate.same_as in self._in_flight:
            self._in_flight[duplicate.same_as].duplicates.append(duplicate)
        elif record := self._record_with_digest(duplicate.version.sha256):
            self._finish_duplicate(duplicate, record)
        else:
            flight = self._in_flight[duplicate.number]
            self._requeue(flight, replace(flight.item, force=True))

    def _record_with_digest(self, sha256: str) -> Record | None:
        """Return the record of an image with this digest, if it is still available."""
        name = self._names_by_digest.get(sha256, "")
        entry = self._sink.entry(name)
        record = self._sink.record_of(name) if entry and entry.version.sha256 == sha256 else None
        return None if record is None or "frames" in record else record

    def _finish_duplicate(self, duplicate: Duplicate, record: Record) -> None:
        """Finish an item with the answers of `record`, that of an image with the same bytes."""
        flight = self._in_flight[duplicate.number]
        if self._side_output_kinds:  # a worker writes the side outputs
            prior = PriorResult(
                duplicate.version.identity, whole=True, lacks_side_outputs=True, answers=record["answers"]
            )
            flight.original_record = record
            self._requeue(flight, replace(flight.item, prior=prior))
            return
        own_record = duplicate_record(flight.name, self._plan.common_fields, duplicate.version, record, made_outputs=())
        self._end_with(duplicate, partial(self._add, own_record))
        self._progress.processed += 1

    def _fail(self, failed: ItemFailed) -> None:
        flight = self._in_flight[failed.number]
        self._end_with(failed, partial(self._add, failure_record(flight.name, self._plan.common_fields, failed)))
        self._count_failure(flight, failed.cause)

    def _count_incomplete(self, flight: InFlight, cause: str) -> None:
        self._count_failure(flight, f"{cause}; the output holds what could be read")

    def _count_failure(self, flight: InFlight, cause: str) -> None:
        self._progress.console.error(f"{flight.name}: {cause}")
        self._progress.failed += 1
        limit = self._plan.limits.errors
        if limit is not None and self._progress.failed > limit:
            raise MdtoolError(f"stopped: more than {limit} input{'s' * (limit != 1)} failed")

    # -- writing

    def _end_with(self, result: Ending, write: Write | None) -> None:
        """Write the last result of an item; from then on a new version of the same input may start."""
        flight = self._in_flight[result.number]
        self._write(result.number, result.place, write, is_last=True)
        self._journal.end(flight.item.source)
        del self._in_flight[result.number]
        self._in_progress.discard(flight.name)

    def _write(self, number: int, place: int, write: Write | None, is_last: bool = False) -> None:
        """Write now, or in the order of the items if the plan is ordered."""
        if self._ordered_writer:
            self._ordered_writer.put(number, place, write, is_last)
        elif write:
            write()

    def _add(self, record: Record) -> None:
        with deferred_interrupts():
            self._sink.add(record)

    def _write_findings(self, flight: InFlight, result: FrameResult) -> None:
        if flight.findings is None:
            common_fields, find = self._plan.common_fields, self._task.videos.find
            assert find
            flight.findings = FindingsWriter(
                self._sink,
                flight.name,
                common_fields["model"],
                find.prompts,
                settings=common_fields["settings"],
                sha256=result.version.sha256,
            )
        flight.findings.write(result.info, result.findings)
