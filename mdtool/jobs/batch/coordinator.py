"""Has thousands of inputs answered, one record each, and goes on where a run before was ended."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from queue import SimpleQueue

from engine.contract import EngineError
from mdtool.errors import Exit, MdtoolError
from mdtool.interruption import check_not_ending, heeded
from mdtool.jobs.batch.batch_records import of_equal, of_failure, of_picture, of_video
from mdtool.jobs.batch.executor import Executor
from mdtool.jobs.batch.in_turn import InTurn, Write
from mdtool.jobs.batch.messages import (
    Answered,
    Completed,
    Duplicate,
    Ending,
    FrameFailed,
    FrameFound,
    ItemFailed,
    Known,
    Result,
    StillWritten,
    Task,
    Unchanged,
    Unfinished,
    VideoAnswered,
    Waited,
    WorkItem,
)
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.batch.work_queue import WorkQueue
from mdtool.media.sources.discover import Selection
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.stages import POLL_SECONDS, Pause, ahead_with_pauses
from mdtool.records.batch import Record
from mdtool.records.findings import FindingsWriter


@dataclass(frozen=True)
class Limits:
    """errors: the batch ends when more inputs have failed. seconds: after which no other input, or frame of a video,
    is begun."""

    errors: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """Which inputs a batch has, and how its records come. about: the fields that all records have, `model` and
    `settings` among them. ordered: in the order of the inputs. watch: it goes on with inputs that appear."""

    selection: Selection
    about: Record
    limits: Limits = Limits()
    ordered: bool = False
    watch: bool = False


@dataclass
class InFlight:
    """An item that a worker has. equal: the record of a picture like it, of which its own is made. twins: pictures like
    it, which wait for its answers. findings: where those of its frames go."""

    item: WorkItem
    equal: Record | None = None
    twins: list[Duplicate] = field(default_factory=list)
    findings: FindingsWriter | None = None

    @property
    def name(self) -> str:
        return self.item.source.name


class Coordinator:
    """Decides what is to be done, and writes what has been done; workers do it."""

    def __init__(self, plan: Plan, task: Task, executor: Executor, sink: Sink, *, progress: Progress) -> None:
        self._plan, self._executor, self._sink, self._progress = plan, executor, sink, progress
        self._task = replace(task, watch=plan.watch)
        self._made = task.side_outputs.kinds
        self._in_flight: dict[int, InFlight] = {}
        self._in_progress: set[str] = set()  # the names of those in flight
        self._again: SimpleQueue[WorkItem] = SimpleQueue()  # that go to a worker once more
        self._contents: dict[str, str] = {}  # names of inputs by digest, where equal pictures are answered once
        self._in_turn = InTurn() if plan.ordered else None
        self._work = WorkQueue(
            plan.selection,
            sink,
            progress,
            task.side_outputs,
            in_progress=self._in_progress,
            watch=plan.watch,
            seconds=plan.limits.seconds,
        )

    def run(self) -> Exit:
        """OutputError where records can't be written; MdtoolError if too many inputs fail."""
        progress, seconds = self._progress, self._plan.limits.seconds
        if self._task.dedupe:
            self._contents |= {entry.version.sha256: name for name, entry in self._sink.entries() if entry.whole}
        deadline = None if seconds is None else time.time() + seconds - progress.seconds
        task = replace(self._task, deadline=deadline, answered=frozenset(self._contents))
        with progress.shown(), closing(self._executor.run(task, self._items())) as results:
            try:
                for result in results:
                    check_not_ending()
                    progress.tick()
                    self._take(result)
            except EngineError as error:
                raise MdtoolError(str(error)) from error
            finally:
                self._work.stop()
        progress.console.note(progress.summary())
        if self._work.incomplete:
            progress.console.note("the time is up; the same command goes on")
            return Exit.INCOMPLETE
        return Exit.SOME_FAILED if progress.failed else Exit.OK

    # -- what is given to workers

    def _items(self) -> Iterator[WorkItem | Pause]:
        numbers = count()
        if not self._task.dedupe:
            for source in self._work:
                yield self._begun(next(numbers), source)
            return
        with closing(ahead_with_pauses(self._work, 1)) as sources:
            for one in sources:
                yield from self._once_more()
                yield one if isinstance(one, Pause) else self._begun(next(numbers), one)
        while self._in_flight:
            yield from self._once_more()
            yield Pause()
            time.sleep(POLL_SECONDS / 10)

    def _once_more(self) -> Iterator[WorkItem]:
        while not self._again.empty():
            yield self._again.get()

    def _begun(self, number: int, source: Input) -> WorkItem:
        item = WorkItem(number, source, self._known(source.name))
        self._in_progress.add(source.name)
        self._in_flight[number] = InFlight(item)
        return item

    def _known(self, name: str) -> Known | None:
        entry = self._sink.entry(name)
        if not entry:
            return None
        lacks = not self._task.side_outputs.is_made(entry.made)
        record = self._sink.record_of(name) if entry.whole and lacks else None
        answers = None if record is None or "frames" in record else record["answers"]
        times = frozenset(entry.times or ())
        return Known(entry.version.identity, entry.whole, bool(entry.incomplete), lacks, answers, times)

    def _ask_again(self, flight: InFlight, item: WorkItem) -> None:
        flight.item = item
        self._again.put(item)

    # -- what comes from them

    def _take(self, result: Result) -> None:
        match result:
            case Waited(seconds=seconds):
                self._progress.waited += seconds
            case FrameFailed(number=number, place=place):
                self._write(number, place, None)
            case FrameFound(number=number, place=place):
                self._write(number, place, partial(self._write_findings, self._in_flight[number], result))
            case Answered(time=float()):
                record = of_picture(self._in_flight[result.number].name, self._plan.about, result, made=self._made)
                self._write(result.number, result.place, partial(self._add, record))
            case Duplicate():
                self._take_duplicate(result)
            case _:
                self._end(result)

    def _end(self, result: Ending) -> None:
        """The last that comes of an item."""
        flight, about = self._in_flight[result.number], self._plan.about
        match result:
            case Answered():
                record = of_picture(flight.name, about, result, made=self._made)
                self._end_with(result, partial(self._add, record))
                self._progress.asked += 1
                if self._task.dedupe:
                    self._contents[result.version.sha256] = flight.name
                for twin in flight.twins:
                    self._finish_equal(twin, record)
            case Completed():
                equal = flight.equal or self._sink.record_of(flight.name)
                assert equal
                record = of_equal(flight.name, about, result.version, equal, made=self._made)
                self._end_with(result, partial(self._add, record))
                self._progress.asked += 1
            case VideoAnswered():
                record = of_video(flight.name, about, result, made=self._made)
                self._end_with(result, partial(self._add, record))
                if result.incomplete:
                    self._count_incomplete(flight, result.incomplete)
                else:
                    self._progress.asked += 1
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
                for number in (result.number, *(twin.number for twin in flight.twins)):
                    self._fail(replace(result, number=number))
            case Unfinished():
                self._work.incomplete = True
                self._end_with(result, None)
            case StillWritten():
                self._end_with(result, None)

    def _take_duplicate(self, twin: Duplicate) -> None:
        if twin.same_as in self._in_flight:
            self._in_flight[twin.same_as].twins.append(twin)
        elif record := self._record_with(twin.version.sha256):
            self._finish_equal(twin, record)
        else:
            flight = self._in_flight[twin.number]
            self._ask_again(flight, replace(flight.item, always=True))

    def _record_with(self, content: str) -> Record | None:
        """That of a picture with this digest, if it is still to be had."""
        name = self._contents.get(content, "")
        entry = self._sink.entry(name)
        record = self._sink.record_of(name) if entry and entry.version.sha256 == content else None
        return None if record is None or "frames" in record else record

    def _finish_equal(self, twin: Duplicate, record: Record) -> None:
        """record: of the picture that it is equal to."""
        flight = self._in_flight[twin.number]
        if self._made:  # by a worker
            known = Known(twin.version.identity, whole=True, lacks=True, answers=record["answers"])
            flight.equal = record
            self._ask_again(flight, replace(flight.item, known=known))
            return
        of_twin = of_equal(flight.name, self._plan.about, twin.version, record, made=())
        self._end_with(twin, partial(self._add, of_twin))
        self._progress.asked += 1

    def _fail(self, failed: ItemFailed) -> None:
        flight = self._in_flight[failed.number]
        self._end_with(failed, partial(self._add, of_failure(flight.name, self._plan.about, failed)))
        self._count_failure(flight, failed.cause)

    def _count_incomplete(self, flight: InFlight, cause: str) -> None:
        self._count_failure(flight, f"{cause}; the output holds what could be read")

    def _count_failure(self, flight: InFlight, cause: str) -> None:
        self._progress.console.error(f"{flight.name}: {cause}")
        self._progress.failed += 1
        most = self._plan.limits.errors
        if most is not None and self._progress.failed > most:
            raise MdtoolError(f"ended, as more than {most} inputs failed")

    # -- writing

    def _end_with(self, result: Ending, write: Write | None) -> None:
        """Writes the last of an item, which another version may follow then."""
        flight = self._in_flight[result.number]
        self._write(result.number, result.place, write, is_last=True)
        del self._in_flight[result.number]
        self._in_progress.discard(flight.name)

    def _write(self, number: int, place: int, write: Write | None, is_last: bool = False) -> None:
        """In its turn, if that is asked for."""
        if self._in_turn:
            self._in_turn.put(number, place, write, is_last)
        elif write:
            write()

    def _add(self, record: Record) -> None:
        with heeded():
            self._sink.add(record)

    def _write_findings(self, flight: InFlight, found: FrameFound) -> None:
        if flight.findings is None:
            about, find = self._plan.about, self._task.videos.find
            assert find
            flight.findings = FindingsWriter(
                self._sink,
                flight.name,
                about["model"],
                find.prompts,
                settings=about["settings"],
                sha256=found.version.sha256,
            )
        flight.findings.write(found.moment, found.verdict)
