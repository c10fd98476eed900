"""Write findings to a JSON Lines file or pipe, read them back, and spool those from stdin for a second reading."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TextIO

from mdtool import stdout
from mdtool.errors import InputError, OutputError, UsageError, output_errors_for, write_error_message
from mdtool.media.files import stdin
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.spool import spool
from mdtool.records.findings import FrameFindings, Lines, Record, parse_record

MAX_NAMED_SOURCES = 3  # in a message
UNCHECKED = "it is not checked that the findings are of this content"
FORCE = "--force-findings uses them all the same"
NO_FINDINGS = "has no findings; write some with `mdtool detect INPUT PROMPT --jsonl FILE`"


@dataclass(frozen=True)
class ContentCheck:
    """Which content the recorded findings of a source must be of.

    Attributes:
        digest: Returns the SHA-256 of the source's file in hexadecimal, "" if it has none; None for no check.
        any_source: Whether the findings of one other source will do.
        note: Called with what the person should know about the findings that are used.
    """

    digest: Callable[[], str] | None = None
    any_source: bool = False
    note: Callable[[str], None] = lambda line: None

    def is_other(self, record: Record) -> bool:
        """Return whether a record was made from other content."""
        if not record.sha256:
            return False
        if self.digest is None:
            self.note(UNCHECKED)
            return False
        return self.digest() not in ("", record.sha256)

    def has(self, sha256: str) -> bool:
        """Return whether the source's file is known to have this SHA-256."""
        return self.digest is not None and sha256 != "" and self.digest() == sha256


NO_CHECK = ContentCheck()


class RecordedFindings:
    """Findings of one source, read from a file and looked up by frame.

    Records are read on demand and buffered until their frame is requested, so memory stays small when the file is in
    about the order of the requests.
    """

    def __init__(
        self,
        file: Path | TextIO,
        source: str,
        by_name: bool,
        *,
        check: ContentCheck = NO_CHECK,
        transform: Callable[[Iterator[Record]], Iterator[Record]] = iter,
    ) -> None:
        """Open the findings of one source.

        Args:
            file: See `records_of`.
            source: See `records_of`.
            by_name: See `records_of`.
            check: See `records_of`.
            transform: Applied to the stream of records before use, such as interpolation.
        """
        self._records = transform(records_of(file, source, by_name, check))
        self._buffered: dict[tuple[int, int], Record] = {}  # by stream and frame: read, but not requested yet
        self._last: dict[int, int] = {}  # stream -> the highest frame requested

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the records that were not read yet."""
        return self._records

    def for_frame(self, stream: int, frame: int, size: tuple[int, int] | None = None) -> FrameFindings:
        """Return the findings of one frame.

        Args:
            stream: Index of the video stream.
            frame: Number of the frame in the stream, from 0.
            size: (width, height) of the displayed frame in pixels, compared with the recorded one; None for no check.

        Raises:
            InputError: The file has no findings of this frame, or was made from a frame of another size.
        """
        while (stream, frame) not in self._buffered:
            record = next(self._records, None)
            if record is None:
                raise InputError(_missing(stream, frame))
            self._buffered[record.info.stream, record.info.frame] = record
        record = self._buffered.pop((stream, frame))
        if size and not record.info.may_have(size):
            recorded, current = ("x".join(map(str, each)) for each in (record.info.size, size))
            raise InputError(_mismatch(f"they are for {recorded} pixels, and it has {current}"))
        self._last[stream] = max(frame, self._last.get(stream, 0))
        return record.findings

    def check_end(self) -> None:
        """Check that no record is left of frames after the last one requested.

        Raises:
            InputError: The findings have more frames than the input.
        """
        for record in chain(self._buffered.values(), self._records):
            stream, frame = record.info.stream, record.info.frame
            if frame > self._last.get(stream, -1):
                frames = self._last.get(stream, -1) + 1
                where = f" in stream {stream}" if stream else ""
                raise InputError(_mismatch(f"they are for {frame + 1} or more frames{where}, and it has {frames}"))


def records(file: Path | TextIO) -> Iterator[Record]:
    """Read all records of a findings file, lazily.

    Args:
        file: Path of the file, "-" for stdin; an open file is read from its start.

    Raises:
        InputError: The file can't be read, has no records of findings, or a line is not a record.
    """
    name, is_empty = str(file) if isinstance(file, Path) else "the findings", True
    try:
        for number, line in enumerate(_lines(file), 1):
            if record := parse_record(line, f"{name}:{number}"):
                is_empty = False
                yield record
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: can't be read: {getattr(error, 'strerror', None) or 'is not text'}") from error
    if is_empty:
        raise InputError(f"{name}: {NO_FINDINGS}")


def records_of(file: Path | TextIO, source: str, by_name: bool, check: ContentCheck = NO_CHECK) -> Iterator[Record]:
    """Read the records of one source, skipping those made from other content.

    Args:
        file: See `records`.
        source: Name of the source, as recorded.
        by_name: Compare file names only, whatever their folders. Where none matches, a file that has findings of one
            source only is used if that has the same content, or any content if the check allows.
        check: Which content the findings must be of.

    Raises:
        InputError: See `records`; or there are no records of the source, or all were made from other content, or a
            frame has several: which of them holds is unknown, and one of too little would leave objects visible; or at
            the end, where frames of a stream have none.
    """
    read: set[tuple[str, int, int]] = set()
    other, matched = "", False
    other_sources: dict[str, str] = {}  # SHA-256 by name
    for record in records(file):
        if not is_of_source(record, source, by_name):
            if len(other_sources) < MAX_NAMED_SOURCES:
                other_sources.setdefault(record.source, record.sha256)
        elif check.is_other(record):
            other = record.sha256
        else:
            matched = True
            key = (record.source, record.info.stream, record.info.frame)
            if key in read:
                raise InputError(
                    f"the findings have several records of frame {record.info.frame}, as of runs with other settings; "
                    "detect again into a new file"
                )
            read.add(key)
            yield record
    _check_gaps(read)
    if other and not matched and check.digest:
        difference = f"they are for SHA-256 {other[:12]}..., and it has {check.digest()[:12]}..."
        raise InputError(f"{_mismatch(difference)}; {FORCE}")
    if not matched:
        name = _renamed(file, other_sources, by_name, check)
        yield from records_of(file, name, False, check)


def _check_gaps(read: Collection[tuple[str, int, int]]) -> None:
    """Check that the frames of each stream are recorded from 0 without a gap.

    A run records each frame, also those outside of `--from` and `--to`. The frames after the last record are not known.

    Args:
        read: Source, stream and frame of the records, each once.

    Raises:
        InputError: A frame has no record.
    """
    counts = Counter((source, stream) for source, stream, _ in read)
    for source, stream, frame in read:
        if not 0 <= frame < counts[source, stream]:
            missing = next(n for n in count() if (source, stream, n) not in read)
            raise InputError(_missing(stream, missing))


def _missing(stream: int, frame: int) -> str:
    return f"the findings have no record of its stream {stream}, frame {frame}: give the complete findings of this file"


def _renamed(file: Path | TextIO, others: Mapping[str, str], by_name: bool, check: ContentCheck) -> str:
    """Return the name under which findings hold for a source that they don't name.

    Args:
        file: The findings.
        others: The SHA-256 of the sources that they name, by name.
        by_name: As of `records_of`.
        check: As of `records_of`.

    Raises:
        InputError: They hold for another source.
    """
    copy = next((name for name, sha256 in others.items() if check.has(sha256)), None)
    only = next(iter(others)) if by_name and len(others) == 1 else None
    if only and (copy or check.any_source):
        if isinstance(file, Path) and is_stdin(file):
            raise InputError(f"the findings are of {only}; to use them for this input, give them as a file")
        check.note(f"the findings of {only} are used" + (", which has the same content" if copy else ""))
        return only
    if copy:
        raise InputError(f"the findings are of {copy}, which has the same content; give the input by that name")
    advice = "detect in it, or give one of them" + (f"; {FORCE}" if only else "")
    raise InputError(f"the findings are of {', '.join(others)}, not of this input; {advice}")


def is_of_source(record: Record, source: str, by_name: bool) -> bool:
    """Return whether a record is of the source of this name; by_name: whatever its folder."""
    return record.source == source or (by_name and Path(record.source).name == Path(source).name)


def _mismatch(difference: str) -> str:
    return f"does not match the findings: {difference}; detect again, or give the file that they were made from"


def _lines(file: Path | TextIO) -> Iterator[str]:
    if not isinstance(file, Path):
        file.seek(0)
        yield from file
    elif is_stdin(file):
        yield from stdin.lines("findings")
    else:
        with file.open(encoding="utf-8", errors="surrogateescape") as opened:
            yield from opened


def is_stdin(path: Path) -> bool:
    """Return whether the path is "-", which stands for stdin."""
    return str(path) == "-"


@contextmanager
def spooled(path: Path) -> Iterator[Path]:
    """Make findings readable more than once: stdin is copied to a temporary file.

    Yields:
        The path itself, or that of the copy, which is deleted at the end.

    Raises:
        InputError: A line from stdin is not a record of findings.
    """
    if not is_stdin(path):
        yield path
        return
    with spool("w", encoding="utf-8", errors="surrogateescape") as (file, copy):
        is_empty = True
        for number, line in enumerate(stdin.lines("findings"), 1):
            is_empty &= parse_record(line, f"{path}:{number}") is None
            file.write(line)
        if is_empty:
            raise InputError(f"{path}: {NO_FINDINGS}")
        file.flush()
        yield copy


@contextmanager
def open_findings(
    name: str | None, overwrite: bool, read: Collection[Path], *, option: str = "--findings", live: bool = False
) -> Iterator[Lines | None]:
    """Open a file to write findings to.

    A regular file appears when it is complete: not if a line could not be written, there is no line, or the block
    raises. A pipe or device is written line by line.

    Args:
        name: Path of the file; "-" for stdout, None for no file.
        overwrite: Replace an existing file.
        read: Files that the same command reads. What group and others can't do with one of them, they can't do with the
            findings.
        option: Option that names the file, for messages.
        live: Write a regular file line by line too, without a temporary one.

    Yields:
        The file, None for no file.

    Raises:
        UsageError: The file is one of `read`.
        OutputError: The file already exists, or can't be written.
    """
    if name is None:
        yield None
    elif name == "-":
        yield stdout.Lines()
    else:
        path = Path(name)
        if os.path.exists(path) and any(os.path.exists(other) and path.samefile(other) for other in read):
            raise UsageError(f"{option} {name}: also an input of this command; give another name")
        if os.path.isfile(path) and not overwrite:
            raise OutputError(f"{name}: exists already; --overwrite replaces it")
        atomic = None if live or (os.path.exists(path) and not os.path.isfile(path)) else AtomicFile(path, overwrite)
        with ExitStack() as stack:
            with output_errors_for(name):
                if atomic:
                    stack.enter_context(atomic)
                    for source in read:
                        atomic.restrict(source)
                file = (atomic.part if atomic else path).open(
                    "w", encoding="utf-8", errors="backslashreplace", buffering=1
                )
            lines = _Lines(file)
            try:
                yield lines
                if lines.failure:  # of one of several inputs: what the others have is not all either
                    raise OutputError(f"{name}: {write_error_message(lines.failure)}") from lines.failure
            except BaseException:
                with suppress(OSError):
                    file.close()
                raise
            with output_errors_for(name):
                file.close()
                if atomic and not lines.is_empty:
                    atomic.commit()


class _Lines:
    """The lines of a file, which takes no more of them after one that could not be written.

    Attributes:
        failure: Why a line could not be written, if so.
        is_empty: There is no line.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.failure: OSError | None = None
        self.is_empty = True

    def write(self, text: str, /) -> None:
        """Write a line. Raises OSError."""
        if self.failure:
            raise self.failure
        try:
            self._file.write(text)
        except OSError as error:
            self.failure = error
            raise
        self.is_empty = False
