"""The records of a batch in a file that tells by itself what is done, so that a run that was killed can go on.

JSON Lines, of the schema in `mdtool.records.batch`; a video's are preceded by records of its frames, or by its findings
(`mdtool.records.findings`). An input is done when there is a record of it, without a time, for the same settings and
content.
Lines are only ever added. What no longer holds is left out when the file is opened and when it is closed, by putting a
copy without it in its place: the half of a line that a killed run left, errors, which are tried again, what was said of
other content under the same name, findings of a video that is not done, and frames of one that can't be known again.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mdtool.errors import OutputError, output_errors_for
from mdtool.jobs.batch.batch_records import version_fields, version_from_record
from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.file_lock import lock
from mdtool.records import findings
from mdtool.records.batch import SCHEMA, Record
from mdtool.records.fingerprint import BATCH, is_of

SECONDS_BETWEEN_SYNCS = 2.0
COPY_CHUNK_BYTES = 1 << 20  # bytes
MAX_REMEMBERED_RECORDS = 10_000  # records that went to stdout
HEAD = b'{"schema":"mdtool.'  # what such a file begins with
ByteRange = tuple[int, int]  # of bytes in the file: from, to


def json_line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"


@dataclass(slots=True)
class LogEntry:
    """What there is of one input. ranges: all its lines, the last of them its record. whole: it is done, if its version
    is known; made: what was made beside its record. incomplete: what is wrong with a video that was done as far as it
    could be read. times: of its frames, of a video that is not done.
    """

    version: ContentVersion
    ranges: list[ByteRange] = field(default_factory=list)
    whole: bool = False
    made_outputs: tuple[str, ...] = ()
    incomplete: str = ""
    times: set[float] | None = None

    def end(self, record: Record) -> None:
        """record: of all of the input."""
        self.whole, self.times = True, None
        self.made_outputs, self.incomplete = tuple(record.get("made", ())), record.get("incomplete", "")


class Sink(Protocol):
    """Where records go. As a file, `write` takes the findings of a video, which its record will follow."""

    def begin(self, settings: str) -> None:
        """Before all else. settings: the fingerprint that records have for which work is done."""

    @property
    def unrecognised(self) -> int:
        """Records that were there when it began, and whose fingerprint can't be compared with one made now."""

    def entry(self, name: str) -> LogEntry | None:
        """What there is of the input with this name. May be called from any thread."""

    def record_of(self, name: str) -> Record | None:
        """Of an input that is done, if it is still to be had."""

    def entries(self) -> Iterable[tuple[str, LogEntry]]:
        """Of all inputs, with their names."""

    def add(self, record: Record) -> None:
        """Whole or not at all. OutputError where it can't be written."""

    def refresh(self, name: str, version: ContentVersion) -> None:
        """The file of an input that is done was touched, and has the same content."""

    def write(self, text: str, /) -> object: ...


class StreamSink:
    """Records for whoever reads them at the other end; what is done is known while the run lasts."""

    unrecognised = 0

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put = put
        self._entries: dict[str, LogEntry] = {}
        self._records: dict[str, Record] = {}  # the last ones

    def begin(self, settings: str) -> None:
        """All that it knows was done in this run, and has these settings."""

    def entry(self, name: str) -> LogEntry | None:
        return self._entries.get(name)

    def record_of(self, name: str) -> Record | None:
        return self._records.get(name)

    def entries(self) -> Iterable[tuple[str, LogEntry]]:
        return self._entries.items()

    def add(self, record: Record) -> None:
        self._put(json_line(record))
        if "error" not in record and "time" not in record and version_from_record(record).identity:
            self._records[record["input"]] = record
            if len(self._records) > MAX_REMEMBERED_RECORDS:
                self._records.pop(next(iter(self._records)))
            self._entries[record["input"]] = LogEntry(version_from_record(record))
            self._entries[record["input"]].end(record)

    def refresh(self, name: str, version: ContentVersion) -> None:
        self._entries[name].version = version

    def write(self, text: str, /) -> None:
        self._put(text)


class ResultsLog:
    """A file of records; see above. Use as a context manager. Another run on the same file is refused."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """overwrite: what is there is thrown away when this begins."""
        self.path = path
        self._place = Path(os.path.realpath(path))
        self._settings = ""
        self._overwrite = overwrite
        self._file = -1
        self._is_new = self._has_begun = False
        self._synced = time.monotonic()
        self._forget()

    def _forget(self) -> None:
        self._end = self.unrecognised = 0
        self._entries: dict[str, LogEntry] = {}
        self._errors: dict[str, ByteRange] = {}
        self._dropped: list[ByteRange] = []
        self._findings: tuple[str, str, ByteRange] | None = (
            None  # of a video that has no record yet, and their settings
        )

    def __enter__(self) -> "ResultsLog":
        with ExitStack() as stack:
            stack.enter_context(output_errors_for(self.path))
            self._is_new = not os.path.lexists(self._place)
            self._file = _locked(self._place)
            stack.callback(lambda: os.close(self._file))
            head = os.pread(self._file, len(HEAD), 0)
            if not HEAD.startswith(head):
                raise OutputError("holds something else than records of mdtool; give another name")
            stack.pop_all()
        return self

    def begin(self, settings: str) -> None:
        """OutputError for a file that holds anything else than records."""
        self._settings = settings
        with output_errors_for(self.path):
            if self._overwrite:
                os.ftruncate(self._file, 0)
            self._read()
            self._dropped += self._errors.values()
            self._errors.clear()
            for name, entry in list(self._entries.items()):
                if not entry.whole and not entry.version.identity:
                    self._dropped += self._entries.pop(name).ranges
            if self._compact():
                self._forget()
                self._read()
        self._has_begun = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with output_errors_for(self.path):
                if self._has_begun:  # else it is not known which lines hold
                    self._sync()
                    self._drop_findings()
                    self._compact()
                if self._is_new and not os.fstat(self._file).st_size:
                    os.unlink(self._place)
        except OutputError:
            if kind is None:  # else that is told
                raise
        finally:
            os.close(self._file)

    # -- what is there

    def entry(self, name: str) -> LogEntry | None:
        return self._entries.get(name)

    def entries(self) -> Iterable[tuple[str, LogEntry]]:
        return self._entries.items()

    def record_of(self, name: str) -> Record:
        start, end = self._entries[name].ranges[-1]
        record: Record = json.loads(os.pread(self._file, end - start, start))
        return record

    def _read(self) -> None:
        """OutputError for a file that holds anything else."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            for number, line in enumerate(file, 1):
                span, self._end = (self._end, self._end + len(line)), self._end + len(line)
                if not line.endswith(b"\n"):
                    self._dropped.append(span)
                    break
                try:
                    record = json.loads(line)
                    if record["schema"] == findings.SCHEMA:
                        self._take_findings(record["source"], record["settings"], span)
                    elif record["schema"] == SCHEMA:
                        self._take(record, span)
                    else:
                        raise ValueError
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise OutputError(
                        f"its line {number} is no record of a batch of this version; give another name, "
                        "or --overwrite to begin anew"
                    ) from error
        self._drop_findings()

    # -- what is added

    def add(self, record: Record) -> None:
        self._take(record, self._append(json_line(record)))
        if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
            with output_errors_for(self.path):
                self._sync()

    def refresh(self, name: str, version: ContentVersion) -> None:
        entry = self._entries[name]
        if entry.version == version:
            return
        record = self.record_of(name) | version_fields(version)
        self._dropped.append(entry.ranges.pop())
        entry.ranges.append(self._append(json_line(record)))
        entry.version = version

    def write(self, text: str, /) -> None:
        self._take_findings(json.loads(text)["source"], self._settings, self._append(text))

    def _sync(self) -> None:
        """OutputError if nobody could find what was written."""
        os.fsync(self._file)
        self._synced = time.monotonic()
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file), os.stat(self._place)):
                return
        raise OutputError("was removed or replaced while it was written; run it again")

    def _append(self, text: str) -> ByteRange:
        data = text.encode("utf-8", "backslashreplace")
        begin = self._end
        with output_errors_for(self.path):
            try:
                while data:
                    written = os.write(self._file, data)
                    data, self._end = data[written:], self._end + written
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, begin)
                self._end = begin
                raise
        return begin, self._end

    # -- which lines hold

    def _take_findings(self, name: str, settings: str, span: ByteRange) -> None:
        if self._findings and self._findings[:2] == (name, settings):
            span = self._findings[2][0], span[1]
        else:
            self._drop_findings()
        self._findings = name, settings, span

    def _drop_findings(self) -> None:
        """Of a video that is not done; what other settings found is theirs."""
        if self._findings and self._findings[1] == self._settings:
            self._dropped.append(self._findings[2])
        self._findings = None

    def _take(self, record: Record, span: ByteRange) -> None:
        name, spans = record["input"], [span]
        if self._findings and self._findings[:2] == (name, record["settings"]) and "error" not in record:
            spans.insert(0, self._findings[2])
            self._findings = None
        self._drop_findings()
        if record["settings"] != self._settings:
            self.unrecognised += not is_of(BATCH, record["settings"])
            return
        if error := self._errors.pop(name, None):
            self._dropped.append(error)
        entry = self._entries.get(name)
        if "error" in record:
            self._errors[name] = span
            if entry and entry.whole:  # of content that it has no longer
                self._dropped += self._entries.pop(name).ranges
            return
        version = version_from_record(record)
        if entry is None or entry.whole or entry.version.identity != version.identity:
            if entry and not record.get("live"):  # what played live is over, and stays
                self._dropped += entry.ranges
            entry = self._entries[name] = LogEntry(version)
        entry.ranges += spans
        if "time" in record:
            if entry.times is None:
                entry.times = set()
            entry.times.add(record["time"])
        else:
            entry.end(record)

    def _compact(self) -> bool:
        """Whether lines were moved: what does not hold is cut off at the end, or left out of a copy in its place."""
        dropped = sorted(self._dropped)
        self._dropped = []
        while dropped and dropped[-1][1] == self._end:
            self._end = dropped.pop()[0]
            os.ftruncate(self._file, self._end)
        if not dropped:
            return False
        with AtomicFile(self._place, overwrite=True) as whole:
            copy = whole.open_append()
            try:
                os.fchmod(copy, os.fstat(self._file).st_mode)
                self._copy_but(dropped, copy)
                whole.commit()
            except BaseException:
                os.close(copy)
                raise
        os.close(self._file)
        self._file = copy
        return True

    def _copy_but(self, dropped: Sequence[ByteRange], copy: int) -> None:
        starts = [0, *(end for _, end in dropped)]
        ends = [*(start for start, _ in dropped), self._end]
        for start, end in zip(starts, ends, strict=True):
            while data := os.pread(self._file, min(COPY_CHUNK_BYTES, end - start), start):
                start += len(data)
                while data:
                    data = data[os.write(copy, data) :]


def _locked(path: Path) -> int:
    """An open file that no other run has. OutputError if one has, and on Windows, which can't replace what is open."""
    if sys.platform == "win32":
        raise OutputError("records can't be kept in a file on Windows; write them to stdout, with --jsonl -")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            lock(file)
            if os.path.samestat(os.fstat(file), os.stat(path)):  # not one that another run has just replaced
                return file
        except BlockingIOError as error:
            os.close(file)
            raise OutputError("another run is writing it; wait for it, or give another name") from error
        except FileNotFoundError:
            pass
        os.close(file)
