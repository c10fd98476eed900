"""Files of findings, and pipes of them: opened for writing, read back, and spooled where they are read twice."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TextIO

from mdtool import stdout
from mdtool.errors import InputError, OutputError, UsageError, output_errors_for
from mdtool.media.files import stdin
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.records.findings import FrameFindings, Lines, Record, parse_record


class RecordedFindings:
    """Findings read back for the frames of one source, in about the order in which they are asked for."""

    def __init__(
        self,
        file: Path | TextIO,
        source: str,
        by_name: bool,
        *,
        digest: Callable[[], str] = str,
        transform: Callable[[Iterator[Record]], Iterator[Record]] = iter,
    ) -> None:
        """by_name, digest: as `records_of` has them.

        refined: what is made of the source's records before they are used.
        """
        self._records = transform(records_of(file, source, by_name, digest))
        self._ahead: dict[tuple[int, int], Record] = {}
        self._last: dict[int, int] = {}  # stream -> the last frame that was asked for

    def __iter__(self) -> Iterator[Record]:
        """All that were not asked for yet."""
        return self._records

    def for_frame(self, stream: int, frame: int, size: tuple[int, int] | None = None) -> FrameFindings:
        """What the file says about a frame of this size, (width, height) in pixels, as displayed.

        InputError if it says nothing, for then nothing is known of it, or if it is of another size.
        """
        while (stream, frame) not in self._ahead:
            record = next(self._records, None)
            if record is None:
                raise InputError(
                    f"the findings say nothing of its stream {stream}, frame {frame}: "
                    "they must be those of this very file, and complete"
                )
            self._ahead[record.info.stream, record.info.frame] = record
        record = self._ahead.pop((stream, frame))
        if size and not record.info.may_have(size):
            then, now = ("x".join(map(str, one)) for one in (record.info.size, size))
            raise InputError(_other_than(f"they say {then} pixels, and it has {now}"))
        self._last[stream] = max(frame, self._last.get(stream, 0))
        return record.findings

    def check_end(self) -> None:
        """InputError if the file says something of frames after those that were asked for."""
        for record in chain(self._ahead.values(), self._records):
            stream, frame = record.info.stream, record.info.frame
            if frame > self._last.get(stream, -1):
                count = self._last.get(stream, -1) + 1
                raise InputError(_other_than(f"they have a frame {frame} in stream {stream}, and it has {count} there"))


def records(file: Path | TextIO) -> Iterator[Record]:
    """All there are in a file ("-": stdin), as they come; of an open one from its start. InputError for no findings."""
    name = str(file) if isinstance(file, Path) else "the findings"
    try:
        for number, line in enumerate(_lines(file), 1):
            if record := parse_record(line, f"{name}:{number}"):
                yield record
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: can't be read: {getattr(error, 'strerror', None) or 'is no text'}") from error


def records_of(file: Path | TextIO, source: str, by_name: bool, digest: Callable[[], str] = str) -> Iterator[Record]:
    """Those of one source, with the content that it has now.

    by_name: the file's name is enough to be the source, in whatever folder it was. digest: tells the SHA-256 of its
    file, in hexadecimal, or nothing; it is asked if the findings know theirs. InputError where all are of another.
    """
    now, other, some = cache(digest), "", False
    for record in records(file):
        if record.source != source and not (by_name and Path(record.source).name == Path(source).name):
            continue
        if record.sha256 and now() not in ("", record.sha256):
            other = record.sha256
        else:
            some = True
            yield record
    if other and not some:
        raise InputError(_other_than(f"they say SHA-256 {other[:12]}..., and it has {now()[:12]}..."))


def _other_than(difference: str) -> str:
    return f"is not what the findings are of: {difference}; detect again, or give the file that they were made from"


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
    return str(path) == "-"


@contextmanager
def spooled(path: Path) -> Iterator[Path]:
    """The same findings where they can be read more than once: of stdin a copy. InputError for what is no findings."""
    if not is_stdin(path):
        yield path
        return
    with tempfile.NamedTemporaryFile("w", prefix="mdtool-", encoding="utf-8", errors="surrogateescape") as spool:
        for number, line in enumerate(stdin.lines("findings"), 1):
            parse_record(line, f"{path}:{number}")
            spool.write(line)
        spool.flush()
        yield Path(spool.name)


@contextmanager
def open_findings(
    name: str | None, overwrite: bool, read: Iterable[Path], *, option: str = "--findings", live: bool = False
) -> Iterator[Lines | None]:
    """The file for findings, "-" for stdout, None for none. A file is there when all is in it, but if `live`, or where
    it is no plain file, it grows as they are made, a whole line at a time.

    read: files that are read meanwhile. OutputError if the file is one of them, exists already, or can't be made.
    option: that names the file.
    """
    if name is None:
        yield None
    elif name == "-":
        yield stdout.Lines()
    else:
        path = Path(name)
        if path.exists() and any(other.exists() and path.samefile(other) for other in read):
            raise UsageError(f"{option} {name}: is read by this very command; give another name")
        if path.is_file() and not overwrite:
            raise OutputError(f"{name}: exists already; --overwrite replaces it")
        whole = None if live or (path.exists() and not path.is_file()) else AtomicFile(path, overwrite)
        with ExitStack() as stack:
            with output_errors_for(name):
                if whole:
                    stack.enter_context(whole)
                file = (whole.part if whole else path).open(
                    "w", encoding="utf-8", errors="backslashreplace", buffering=1
                )
            try:
                yield file
            except BaseException:
                with suppress(OSError):
                    file.close()
                raise
            with (
                output_errors_for(name),
                suppress(OSError),
            ):  # a line that can't be written is told already, and fails again here
                file.close()
                if whole:
                    whole.commit()
