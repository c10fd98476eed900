"""Asks about thousands of pictures, one record each, and goes on where a run before was ended."""

import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count

from engine.contract import Done, EngineError, Failed, Model, Piece, Request
from mdtool.console import Console
from mdtool.errors import Exit, MdtoolError, OutputError
from mdtool.interruption import check_not_ending, heeded
from mdtool.jobs.batch.batch_records import of_failure, of_film, of_picture, said
from mdtool.jobs.batch.image_reader import read_again, reader
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.batch.side_outputs import Beside
from mdtool.jobs.batch.video_frames import Film, Films, frames_of
from mdtool.jobs.batch.work_queue import WorkList, state_of
from mdtool.jobs.each_input import cause_of
from mdtool.jobs.inference.image_input import Shot
from mdtool.jobs.inference.read_ahead import READERS, read_ahead
from mdtool.jobs.inference.requests import Asked, Encode, ask
from mdtool.media.sources.discover import Selection
from mdtool.media.sources.open_media import is_live, open_picture
from mdtool.pipeline.analyse import analyse
from mdtool.records.answers import told
from mdtool.records.batch import Record
from mdtool.records.findings import FindingsFile, FrameFindings, FrameInfo


@dataclass(frozen=True)
class Limits:
    """errors: the batch ends when more inputs have failed. seconds: after which no other input, or frame of a video,
    is begun. timeout: seconds that reading one may take."""

    errors: int | None = None
    seconds: float | None = None
    timeout: float | None = None


@dataclass
class Batch:
    """All that one command asks. about: the fields that all its records have. encode: in place of the model's own."""

    selection: Selection
    model: Model
    requests: Sequence[Request]
    threshold: float | None
    sink: Sink
    about: Record
    console: Console
    progress: Progress
    beside: Beside = field(default_factory=Beside)
    films: Films = Films()
    limits: Limits = Limits()
    ordered: bool = False
    dedupe: bool = False
    watch: bool = False
    encode: Encode | None = None

    def run(self) -> Exit:
        """OutputError where records can't be written; MdtoolError if too many inputs fail."""
        return _Running(self).run()


class _TimeIsUp(Exception):
    """In the midst of a video."""


class _Running:
    """A batch under way: what was read, what is being asked, and what waits to be written."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._numbers = count()
        self._due = 0
        seconds = batch.limits.seconds
        self._work = WorkList(batch.selection, batch.sink, batch.progress, batch.beside, batch.watch, seconds)
        self._held: dict[int, list[Record]] = {}  # that wait for their turn
        self._results: defaultdict[Shot, dict[int, Done | Failed]] = defaultdict(dict)
        self._lock = threading.RLock()  # the model draws what to ask about on a thread of its own
        self._in_flight = 0
        self._ended = False
        self._all_read = False
        self._films: dict[str, Film] = {}  # by name, that have no more frames, but may wait for answers
        self._film: Shot | None = None  # to be looked at whole, when nothing else is under way
        self._names: dict[str, str] = {}  # of inputs by their content, if pictures that are equal are answered once
        self._twins: dict[str, list[Shot]] = {}  # that wait for the answers to one like them

    def run(self) -> Exit:
        batch = self.batch
        if batch.dedupe:
            self._names |= {entry.version.sha256: name for name, entry in batch.sink.entries() if entry.whole}
        read = reader(batch.sink, batch.beside, batch.films.inquiry is not None, batch.films.tiled)
        shots = read_ahead(self._work, read, max(READERS, batch.model.pictures_at_once), batch.limits.timeout)
        with batch.progress.shown(), closing(shots), closing(self._with_frames(shots)) as ready:
            try:
                while not self._all_read:
                    self._ask(ready)
                    if film := self._film:
                        self._film = None
                        self._look_at(film)
            except EngineError as error:
                raise MdtoolError(str(error)) from error
            finally:
                self._work.stop()
        batch.console.note(batch.progress.summary())
        if self._work.incomplete:
            batch.console.note("the time is up; the same command goes on")
            return Exit.INCOMPLETE
        return Exit.SOME_FAILED if batch.progress.failed else Exit.OK

    # -- what there is to ask about

    def _with_frames(self, shots: Iterator[Shot | None]) -> Generator[Shot | Film | None]:
        """With frames in place of a video, and then the video, if these are asked about; None: there is nothing yet."""
        for shot in shots:
            while shot and (before := self._films.get(shot.source.name)) and not before.is_done:
                yield None  # a video that has changed since: the records of one version come after those of another
            if shot and shot.film and self._has_changed(shot):
                continue
            if shot and shot.film and not self.batch.films.inquiry:
                entry = self.batch.sink.entry(shot.source.name)
                same = entry and entry.version.identity == shot.version.identity
                answered = (entry.times if entry and same else None) or set()
                film = Film(shot)
                timeout = self.batch.limits.timeout
                yield from frames_of(film, self.batch.films, answered, self._numbers, self._work.is_late, timeout)
                if film.ended:
                    self._films[shot.source.name] = film
                else:
                    self._work.incomplete = True
                yield film
            else:
                yield shot and replace(shot, number=next(self._numbers))

    def _has_changed(self, shot: Shot) -> bool:
        """Whether a video is still being written, so that it will be met again."""
        return self.batch.watch and shot.source.path is not None and state_of(shot.source) != shot.version.state

    def _ready(self, shots: Iterator[Shot | Film | None]) -> Iterator[Shot]:
        """What the model is to be asked about; ends rather than let it wait with answers under way."""
        progress = self.batch.progress
        while not self._ended:
            begin, model_waits = time.perf_counter(), not self._in_flight
            try:
                shot = next(shots)
            except StopIteration:
                self._all_read = True
                return
            finally:
                if model_waits:
                    progress.waited += time.perf_counter() - begin
            with self._lock:
                progress.tick()
                if isinstance(shot, Film):
                    self._close(shot)
                    continue
                if shot and shot.film:
                    self._film = shot
                    return
                if shot is None and self._in_flight:
                    return
                is_new = shot and self._needs_asking(shot)
                self._in_flight += bool(is_new)
            if shot and is_new:
                yield shot

    def _needs_asking(self, shot: Shot) -> bool:
        content = shot.version.sha256
        if shot.error:
            self._fail(shot, shot.error)
        elif shot.pixels is None:
            self._note_done(shot)
        elif not self.batch.dedupe or not content or shot.time is not None:
            return True
        elif content in self._twins:
            self._twins[content].append(replace(shot, pixels=None))
        elif answered := self._answered(content):
            self._finish(shot, answered)
        else:
            self._twins[content] = []
            return True
        return False

    def _answered(self, content: str) -> Record | None:
        """The record of a picture with this content."""
        name = self._names.get(content, "")
        entry = self.batch.sink.entry(name)
        record = self.batch.sink.record_of(name) if entry and entry.version.sha256 == content else None
        return None if record is None or "frames" in record else record

    def _note_done(self, shot: Shot) -> None:
        """An input that is answered; what is lacking beside its record is made."""
        batch, entry = self.batch, self.batch.sink.entry(shot.source.name)
        assert entry
        record = None if batch.beside.is_made(entry.made) else batch.sink.record_of(shot.source.name)
        if record and "frames" not in record:
            self._finish(shot, record)
            return
        batch.sink.refresh(shot.source.name, shot.version)
        self._put(shot, [])
        if entry.incomplete:
            self._count_incomplete(shot, entry.incomplete)
        else:
            batch.progress.skip()

    # -- asking

    def _ask(self, shots: Iterator[Shot | Film | None]) -> None:
        """About all that is read by now, and what comes while the model is at it."""
        batch = self.batch
        keep = batch.beside.needs_pixels
        events = ask(self._ready(shots), batch.model, batch.requests, batch.threshold, keep, batch.encode)
        try:
            for asked, event in events:
                check_not_ending()
                with self._lock:
                    batch.progress.tick()
                    if not isinstance(event, Piece):
                        self._take(asked, event)
        except BaseException:
            self._ended = True
            raise
        finally:
            events.close()

    def _take(self, asked: Asked, event: Done | Failed) -> None:
        shot, requests = asked.shot, self.batch.requests
        results = self._results[shot]
        results[asked.number] = event
        is_seen = not isinstance(event, Failed) or event.index >= 0  # else that is all that comes of it
        if is_seen and len(results) < len(requests):
            return
        self._in_flight -= 1
        results = self._results.pop(shot)
        failed = next((one for one in results.values() if isinstance(one, Failed)), None)
        twins = self._twins.pop(shot.version.sha256, [])
        if failed:
            for one in (shot, *twins):
                self._fail(one, failed.error)
            return
        done = [one for _, one in sorted(results.items()) if isinstance(one, Done)]
        answers = [told(request, one.result) for request, one in zip(requests, done, strict=True)]
        what = said(asked.size, asked.since, answers)
        if self.batch.dedupe and shot.time is None:
            self._names[shot.version.sha256] = shot.source.name
        for one in (shot, *twins):
            self._finish(one, what)

    def _look_at(self, shot: Shot) -> None:
        """Finds things in all frames of a video."""
        films, inquiry = self.batch.films, self.batch.films.inquiry
        assert inquiry
        film = Film(shot)
        asked, settings = inquiry.question.prompts, self.batch.about["settings"]
        content = shot.version.sha256
        findings = FindingsFile(
            self.batch.sink, shot.source.name, inquiry.model, asked, settings=settings, sha256=content
        )

        def note(moment: FrameInfo, verdict: FrameFindings) -> None:
            film.size = moment.size
            findings.write(moment, verdict)

        def tick(*_: object) -> None:
            check_not_ending()
            self.batch.progress.tick()
            if self._work.is_late() and not film.is_live:  # which can't be begun again
                raise _TimeIsUp

        try:
            film.is_live = is_live(shot.source)
            with heeded():
                tick()
                report = analyse(shot.source, inquiry, note, tick, live=films.live, timeout=self.batch.limits.timeout)
        except (OutputError, BrokenPipeError):
            raise
        except _TimeIsUp:
            self._work.incomplete = True
            self._put(shot, [])
            return
        except Exception as error:
            check_not_ending()
            self._fail(shot, error)
            return
        film.frames = film.finished = report.looks
        film.ended, film.incomplete = True, report.incomplete
        self._close(film)

    # -- writing

    def _finish(self, shot: Shot, what: Record) -> None:
        """what: as `said`."""
        beside = self.batch.beside
        try:
            if beside.needs_pixels and shot.pixels is None:
                shot = replace(shot, pixels=open_picture(shot.source))
            if beside.make(shot, what["answers"]):
                shot = read_again(shot)
        except Exception as error:  # be it a fault of ours or of a library: the other inputs go on
            check_not_ending()
            self._fail(shot, error)
            return
        self._put(shot, [of_picture(shot, self.batch.about, what, self.batch.beside.kinds)])
        if shot.time is None:
            self.batch.progress.asked += 1
        else:
            self._count_frame(shot)

    def _count_frame(self, shot: Shot, error: Exception | None = None) -> None:
        film: Film = shot.part_of
        film.finished += 1
        film.error = film.error or error
        self._close(film)

    def _close(self, film: Film) -> None:
        """Once all of its frames are answered."""
        if not film.is_done:
            return
        if film.error:
            self._fail(film.shot, film.error)
            return
        self._put(film.shot, [of_film(film, self.batch.about, self.batch.beside.kinds)])
        if film.incomplete:
            self._count_incomplete(film.shot, film.incomplete)
        else:
            self.batch.progress.asked += 1

    def _fail(self, shot: Shot, error: Exception) -> None:
        if shot.time is not None:
            self._put(shot, [])
            self._count_frame(shot, error)
            return
        self._put(shot, [of_failure(shot, self.batch.about, error)])
        self._count_failure(shot, cause_of(error))

    def _count_incomplete(self, shot: Shot, cause: str) -> None:
        self._count_failure(shot, f"{cause}; the output holds what could be read")

    def _count_failure(self, shot: Shot, cause: str) -> None:
        self.batch.console.error(f"{shot.source.name}: {cause}")
        self.batch.progress.failed += 1
        most = self.batch.limits.errors
        if most is not None and self.batch.progress.failed > most:
            raise MdtoolError(f"ended, as more than {most} inputs failed")

    def _put(self, shot: Shot, records: list[Record]) -> None:
        """Writes the records of a shot, in its turn if that is asked for."""
        if not self.batch.ordered:
            self._write(records)
            return
        self._held[shot.number] = records
        while self._due in self._held:
            self._write(self._held.pop(self._due))
            self._due += 1

    def _write(self, records: list[Record]) -> None:
        with heeded():
            for record in records:
                self.batch.sink.add(record)
