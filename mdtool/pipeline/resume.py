"""Lets work on a long video go on where a run before was ended."""

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mdtool import __version__
from mdtool.console import Console
from mdtool.errors import InputError
from mdtool.media.image.image_file import sniff
from mdtool.media.sources.inputs import Input
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.run import Inquiry
from mdtool.pipeline.work_folder import Work
from mdtool.records.fingerprint import RESUME, fingerprint

LEAST_SECONDS = 60.0  # a shorter video is not worth the files


@contextmanager
def resumable(
    source: Input,
    target: object,
    known: Inquiry | Path,
    settings: Mapping[str, object],
    console: Console,
    beside: Path | None = None,
) -> Iterator[tuple[Inquiry | Path, Work | None]]:
    """What is known, with what a run before had found out already, and the work to be kept; None: it is not worth it.

    target: what will be there in the end, if it is a file; beside: else another file that will be, which many sources
    may share. settings: all that has a say in the result but the source and what is known, by the names of a
    RESUME fingerprint.
    """
    place = target
    if target is None and beside:
        place = beside.with_name(f"{beside.name}.{source.relative.name}")
    findings = known if isinstance(known, Path) else None
    if not isinstance(place, Path) or source.path is None or not is_long(source.path) or not _is_file(findings):
        yield known, None
        return
    what = known.settings if isinstance(known, Inquiry) else {"findings": known}
    with Work(place, fingerprint(RESUME, mdtool=__version__, source=source.path, **what, **settings)) as work:
        if work.is_begun_anew:
            console.note(f"{source.name}: what a run before had kept is of other settings, and is done again")
        if work.known:
            console.note(f"{source.name}: goes on where a run before was ended")
        yield replace(known, see=work.seeing(known.see)) if isinstance(known, Inquiry) else known, work
        work.done()


def is_long(path: Path) -> bool:
    """Whether a file is a video of at least LEAST_SECONDS; what can't be read is told elsewhere."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            if sniff(file.read(64)):
                return False
        with VideoReader(path.absolute()) as reader:
            return (reader.seconds or 0.0) >= LEAST_SECONDS
    except (OSError, InputError):
        return False


def _is_file(findings: Path | None) -> bool:
    """Or none: what is piped in can't be known again."""
    return findings is None or findings.is_file()
