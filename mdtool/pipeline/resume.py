"""Lets work on a long video go on where a run before was ended."""

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
from mdtool.pipeline.run import ModelInference
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.fingerprint import RESUME, fingerprint

LEAST_SECONDS = 60.0  # a shorter video is not worth the files


@contextmanager
def resumable(
    source: Input,
    target: object,
    known: ModelInference | Path,
    settings: Mapping[str, object],
    *,
    duration: float,
    console: Console,
    side_output: Path | None = None,
) -> Iterator[tuple[ModelInference | Path, WorkFolder | None]]:
    """What is known, with what a run before had found out already, and the work to be kept; None: it is not worth it.

    lasts: seconds of the source, as `seconds_of` tells. target: what will be there in the end, if it is a file; beside:
    else another file that will be, which many sources may share. settings: all that has a say in the result but the
    source and what is known, by the names of a RESUME fingerprint.
    """
    place = target
    if target is None and side_output:
        place = side_output.with_name(f"{side_output.name}.{source.relative.name}")
    findings = known if isinstance(known, Path) else None
    worth = duration >= LEAST_SECONDS and source.path and source.path.is_file()
    if not isinstance(place, Path) or not worth or not _is_file(findings):
        yield known, None
        return
    what = known.settings if isinstance(known, ModelInference) else {"findings": known}
    with WorkFolder(place, fingerprint(RESUME, mdtool=__version__, source=source.path, **what, **settings)) as work:
        if work.was_reset:
            console.note(f"{source.name}: what a run before had kept is of other settings, and is done again")
        if work.known:
            console.note(f"{source.name}: goes on where a run before was ended")
        yield replace(known, detect=work.memoize(known.detect)) if isinstance(known, ModelInference) else known, work
        work.done()


def seconds_of(media: object) -> float:
    """Of a video, as far as it is known; of anything else 0."""
    return media.seconds or 0.0 if isinstance(media, VideoReader) else 0.0


def seconds_of_file(source: Input) -> float:
    """The same of what is not open; what can't be read is told elsewhere."""
    if source.path is None or not source.path.is_file():
        return 0.0
    try:
        with source.path.open("rb") as file:
            if sniff(file.read(64)):
                return 0.0
        with VideoReader(source.path.absolute()) as reader:
            return seconds_of(reader)
    except (OSError, InputError):
        return 0.0


def _is_file(findings: Path | None) -> bool:
    """Or none: what is piped in can't be known again."""
    return findings is None or findings.is_file()
