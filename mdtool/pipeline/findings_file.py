"""Files of findings, and pipes of them: opened for writing, read back, and spooled where they are read twice."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from mdtool import stdout
from mdtool.errors import InputError, OutputError, UsageError, named
from mdtool.media.files import stdin
from mdtool.media.files.atomic_file import WholeFile
from mdtool.records.findings import Lines, Record, Verdict, parsed


class RecordedFindings:
    """Findings read back for the frames of one source, in about the order in which they are asked for."""

    def __init__(
        self,
        file: Path | TextIO,
        source: str,
        by_name: bool,
        refined: Callable[[Iterator[Record]], Iterator[Record]] = iter,
    ) -> None:
        """by_name: the file's name is enough to be the source, in whatever folder it was.

        refined: what is made of the source's records before they are used.
        """
        self._records = refined(records_of(file, source, by_name))
        self._ahead: dict[tuple[int, int], Verdict] = {}

    def __iter__(self) -> Iterator[Record]:
        """All that were not asked for yet."""
        return self._records

    def of(self, stream: int, frame: int) -> Verdict:
        """What the file says about a frame; InputError if it says nothing, for then nothing is known of it."""
        while (stream, frame) not in self._ahead:
            record = next(self._records, None)
            if record is None:
                raise InputError(
                    f"the findings say nothing of its stream {stream}, frame {frame}: "
                    "they must be those of this very file, and complete"
                )
            self._ahead[record.moment.stream, record.moment.frame] = record.verdict
        return self._ahead.pop((stream, frame))


def records(file: Path | TextIO) -> Iterator[Record]:
    """All there are in a file ("-": stdin), as they come; of an open one from its start. InputError for no findings."""
    name = str(file) if isinstance(file, Path) else "the findings"
    try:
        for number, line in enumerate(_lines(file), 1):
            if record := parsed(line, f"{name}:{number}"):
                yield record
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: can't be read: {getattr(error, 'strerror', None) or 'is no text'}") from error


def records_of(file: Path | TextIO, source: str, by_name: bool) -> Iterator[Record]:
    """Those of one source. by_name: the file's name is enough to be the source, in whatever folder it was."""
    for record in records(file):
        if record.source == source or (by_name and Path(record.source).name == Path(source).name):
            yield record


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
            parsed(line, f"{path}:{number}")
            spool.write(line)
        spool.flush()
        yield Path(spool.name)


@contextmanager
def opened_for_writing(
    name: str | None, overwrite: bool, read: Iterable[Path], option: str = "--findings", live: bool = False
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
        whole = None if live or (path.exists() and not path.is_file()) else WholeFile(path, overwrite)
        with ExitStack() as stack:
            with named(name):
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
            with named(name), suppress(OSError):  # a line that can't be written is told already, and fails again here
                file.close()
                if whole:
                    whole.commit()
