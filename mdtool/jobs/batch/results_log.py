"""The results log of a batch: an append-only file of records from which a killed run can resume.

JSON Lines, of the schemas in `mdtool.records.schemas`; a video's record follows records of its frames, or its findings
(`mdtool.records.findings`). An input is done when the log has a record of it, without a time, for the same settings and
content.
Lines are only ever appended. Opening and closing the file compacts it: a copy without stale lines replaces it. Stale
are a partial line of a killed run; errors, which are tried again; records of other content under the same name;
findings of a video that isn't done; frames of a video whose content can't be identified again; and the ends of shards,
since each run writes its own.
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
from mdtool.records.batch import Record
from mdtool.records.fingerprint import BATCH, is_of
from mdtool.stdout import json_text

SECONDS_BETWEEN_SYNCS = 2.0
COPY_CHUNK_BYTES = 1 << 20
MAX_REMEMBERED_RECORDS = 10_000  # of those that went to stdout
HEAD = b'{"schema":"mdtool.'  # the first bytes of such a file, unless another program wrote its JSON anew
MAX_FIRST_LINE = 1 << 20  # bytes of it that are read to see whether it is a record
ByteRange = tuple[int, int]  # offsets in the file: start, end


def json_line(record: Record) -> str:
    """Return a record as a line of JSON."""
    return json_text(record, (",", ":")) + "\n"


@dataclass(slots=True)
class LogEntry:
    """What the log holds of one input.

    Attributes:
        version: The content that was analysed.
        ranges: Byte ranges of all its lines, its record last.
        whole: It is done, if its version is known.
        made_outputs: Kinds of side outputs that were written.
        incomplete: What is wrong with a video that was analysed only as far as it could be read.
        times: Of a video that is not done: times of the frames that have answers, in seconds.
    """

    version: ContentVersion
    ranges: list[ByteRange] = field(default_factory=list)
    whole: bool = False
    made_outputs: tuple[str, ...] = ()
    incomplete: str = ""
    times: set[float] | None = None

    def end(self, record: Record) -> None:
        """Mark the input as done, by the record that ends it."""
        self.whole, self.times = True, None
        self.made_outputs, self.incomplete = tuple(record.get("made", ())), record.get("incomplete", "")


class Sink(Protocol):
    """Where records are written; `write` takes the findings of a video, before its record."""

    def begin(self, settings: str) -> None:
        """Start, before any other call.

        Args:
            settings: Fingerprint of this run's settings; records with another one don't count as done.
        """

    @property
    def unrecognised(self) -> int:
        """Number of earlier records whose fingerprint can't be compared with one made now."""

    def entry(self, name: str) -> LogEntry | None:
        """Return what is known of the input with this name. May be called from any thread."""

    def record_of(self, name: str) -> Record | None:
        """Return the record of an input that is done, if it is still available."""

    def entries(self) -> Iterable[tuple[str, LogEntry]]:
        """Return all inputs, as names with what is known of them."""

    def add(self, record: Record) -> None:
        """Append a record, whole or not at all.

        Raises:
            OutputError: It can't be written.
        """

    def refresh(self, name: str, version: ContentVersion) -> None:
        """Store the new modification time of an input that is done and whose content has not changed."""

    def write(self, text: str, /) -> object:
        """Append a line of findings."""

    def end_shard(self, record: Record) -> None:
        """Append the record that ends a shard, after all others."""


class StreamSink:
    """A sink for a stream, such as stdout; inputs count as done only for the run itself."""

    unrecognised = 0

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put = put
        self._entries: dict[str, LogEntry] = {}
        self._records: dict[str, Record] = {}  # the most recent ones

    def begin(self, settings: str) -> None:
        """Do nothing: all records are of this run and have its settings."""

    def entry(self, name: str) -> LogEntry | None:
        """See `Sink.entry`."""
        return self._entries.get(name)

    def record_of(self, name: str) -> Record | None:
        """See `Sink.record_of`."""
        return self._records.get(name)

    def entries(self) -> Iterable[tuple[str, LogEntry]]:
        """See `Sink.entries`."""
        return self._entries.items()

    def add(self, record: Record) -> None:
        """See `Sink.add`."""
        self._put(json_line(record))
        if "error" not in record and "time" not in record and version_from_record(record).identity:
            self._records[record["input"]] = record
            if len(self._records) > MAX_REMEMBERED_RECORDS:
                self._records.pop(next(iter(self._records)))
            self._entries[record["input"]] = LogEntry(version_from_record(record))
            self._entries[record["input"]].end(record)

    def refresh(self, name: str, version: ContentVersion) -> None:
        """See `Sink.refresh`."""
        self._entries[name].version = version

    def write(self, text: str, /) -> None:
        """See `Sink.write`."""
        self._put(text)

    def end_shard(self, record: Record) -> None:
        """See `Sink.end_shard`."""
        self._put(json_line(record))


class ResultsLog:
    """A sink to a file of records, a context manager. It locks the file against other runs (`flock`)."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Create a log that is opened on entering the context.

        Args:
            path: The JSON Lines file.
            overwrite: Discard the records in the file on `begin`.
        """
        self.path = path
        self._place = Path(os.path.realpath(path))
        self._settings = ""
        self._overwrite = overwrite
        self._file = -1
        self._is_new = self._has_begun = False
        self._synced = time.monotonic()
        self._reset()

    def _reset(self) -> None:
        self._end = self.unrecognised = 0
        self._entries: dict[str, LogEntry] = {}
        self._errors: dict[str, ByteRange] = {}
        self._dropped: list[ByteRange] = []
        # Name, settings and range of the findings of a video that has no record yet.
        self._findings: tuple[str, str, ByteRange] | None = None

    def __enter__(self) -> "ResultsLog":
        with ExitStack() as stack:
            stack.enter_context(output_errors_for(self.path))
            self._is_new = not os.path.lexists(self._place)
            self._file = _locked(self._place)
            stack.callback(lambda: os.close(self._file))
            if not _is_of_records(_read_at(self._file, MAX_FIRST_LINE, 0)):
                raise OutputError("not a file of mdtool records; give another name")
            stack.pop_all()
        return self

    def begin(self, settings: str) -> None:
        """Read the records that the file holds, and compact it.

        Raises:
            OutputError: It holds anything else than records.
        """
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
                self._reset()
                self._read()
        self._has_begun = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with output_errors_for(self.path):
                if self._has_begun:  # else it is not known which lines are stale
                    self._sync()
                    self._drop_findings()
                    self._compact()
                if self._is_new and not os.fstat(self._file).st_size:
                    os.unlink(self._place)
        except OutputError:
            if kind is None:  # else the error that ended the run is reported
                raise
        finally:
            os.close(self._file)

    # -- reading

    def entry(self, name: str) -> LogEntry | None:
        """See `Sink.entry`."""
        return self._entries.get(name)

    def entries(self) -> Iterable[tuple[str, LogEntry]]:
        """See `Sink.entries`."""
        return self._entries.items()

    def record_of(self, name: str) -> Record:
        """Read the record of an input that is done back from the file."""
        start, end = self._entries[name].ranges[-1]
        record: Record = json.loads(_read_at(self._file, end - start, start))
        return record

    def _read(self) -> None:
        """Raise OutputError for a file that holds anything else than records."""
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
                        self._index_findings(record["source"], record["settings"], span)
                    elif record["schema"] == findings.BATCH_SCHEMA:
                        self._index(record, span)
                    elif record["schema"] == findings.SHARD_SCHEMA:
                        self._dropped.append(span)
                    else:
                        raise ValueError
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise OutputError(
                        f"line {number} is not a batch record of this version; give another name, "
                        "or --overwrite to start again"
                    ) from error
        self._drop_findings()

    # -- appending

    def add(self, record: Record) -> None:
        """See `Sink.add`; every few seconds the file is synced to the disk."""
        self._index(record, self._append(json_line(record)))
        if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
            with output_errors_for(self.path):
                self._sync()

    def refresh(self, name: str, version: ContentVersion) -> None:
        """See `Sink.refresh`."""
        entry = self._entries[name]
        if entry.version == version:
            return
        record = self.record_of(name) | version_fields(version)
        self._dropped.append(entry.ranges.pop())
        entry.ranges.append(self._append(json_line(record)))
        entry.version = version

    def write(self, text: str, /) -> None:
        """See `Sink.write`."""
        self._index_findings(json.loads(text)["source"], self._settings, self._append(text))

    def end_shard(self, record: Record) -> None:
        """See `Sink.end_shard`."""
        self._append(json_line(record))

    def _sync(self) -> None:
        """Raise OutputError if the file is no longer at its path, so that what was written is lost."""
        os.fsync(self._file)
        self._synced = time.monotonic()
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file), os.stat(self._place)):
                return
        raise OutputError("was removed or replaced while it was written; run it again")

    def _append(self, text: str) -> ByteRange:
        data = text.encode("utf-8", "backslashreplace")
        start = self._end
        with output_errors_for(self.path):
            try:
                while data:
                    written = os.write(self._file, data)
                    data, self._end = data[written:], self._end + written
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, start)
                self._end = start
                raise
        return start, self._end

    # -- which lines are stale

    def _index_findings(self, name: str, settings: str, span: ByteRange) -> None:
        if self._findings and self._findings[:2] == (name, settings):
            span = self._findings[2][0], span[1]
        else:
            self._drop_findings()
        self._findings = name, settings, span

    def _drop_findings(self) -> None:
        """Drop the findings of a video that is not done, unless they are of other settings."""
        if self._findings and self._findings[1] == self._settings:
            self._dropped.append(self._findings[2])
        self._findings = None

    def _index(self, record: Record, span: ByteRange) -> None:
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
            if entry and entry.whole:  # of earlier content
                self._dropped += self._entries.pop(name).ranges
            return
        version = version_from_record(record)
        if entry is None or entry.whole or entry.version.identity != version.identity:
            if entry and not record.get("live"):  # a live source can't be read again, so its record stays
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
        """Remove stale lines: truncate those at the end; for others, replace the file by a copy without them.

        Returns:
            Whether the file was replaced, so that the byte ranges changed.
        """
        dropped = sorted(self._dropped)
        self._dropped = []
        while dropped and dropped[-1][1] == self._end:
            self._end = dropped.pop()[0]
            os.ftruncate(self._file, self._end)
        if not dropped:
            return False
        with AtomicFile(self._place, overwrite=True) as atomic:
            copy = atomic.open_append()
            try:
                os.chmod(copy, os.fstat(self._file).st_mode)
                self._copy_without(dropped, copy)
                atomic.commit()
            except BaseException:
                os.close(copy)
                raise
        os.close(self._file)
        self._file = copy
        return True

    def _copy_without(self, dropped: Sequence[ByteRange], copy: int) -> None:
        starts = [0, *(end for _, end in dropped)]
        ends = [*(start for start, _ in dropped), self._end]
        for start, end in zip(starts, ends, strict=True):
            while data := _read_at(self._file, min(COPY_CHUNK_BYTES, end - start), start):
                start += len(data)
                while data:
                    data = data[os.write(copy, data) :]


def _is_of_records(start: bytes) -> bool:
    """Return whether a file that starts so holds records; a killed run may have left a part of the first."""
    if HEAD.startswith(start[: len(HEAD)]):
        return True
    try:
        record = json.loads(start.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and str(record.get("schema")).startswith("mdtool.")


def _read_at(file: int, length: int, start: int) -> bytes:
    if sys.platform != "win32":
        return os.pread(file, length, start)
    raise NotImplementedError  # and `_locked` opens no file there


def _locked(path: Path) -> int:
    """Open and lock a file.

    Raises:
        OutputError: Another run holds the lock; or on Windows, where an open file can't be replaced.
    """
    if sys.platform == "win32":
        raise OutputError("records can't be written to a file on Windows; write them to stdout, with --jsonl -")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            lock(file)
            if os.path.samestat(os.fstat(file), os.stat(path)):  # else another run has just replaced it
                return file
        except BlockingIOError as error:
            os.close(file)
            raise OutputError("another run is writing it; wait for it, or give another name") from error
        except FileNotFoundError:
            pass
        os.close(file)
