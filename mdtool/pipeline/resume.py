"""Resume interrupted work on a long video."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mdtool import __version__
from mdtool.console import Console
from mdtool.errors import InputError
from mdtool.media.file_types import sniff_file
from mdtool.media.sources.inputs import Input
from mdtool.media.video.part import Part
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.run import ModelInference
from mdtool.pipeline.work_folder import PART_SUFFIX, WorkFolder
from mdtool.records.fingerprint import RESUME, fingerprint

MIN_SECONDS = 60.0  # shorter videos are not worth a work folder


@contextmanager
def resumable(
    source: Input,
    target: object,
    findings_source: ModelInference | Path,
    settings: Mapping[str, object],
    *,
    duration: float,
    console: Console,
    side_output: Path | None = None,
    part: Part | None = None,
) -> Iterator[tuple[ModelInference | Path, WorkFolder | None]]:
    """Open the work folder of an output, and reuse the model predictions that are in it.

    There is no work folder for short videos, for inputs and findings that are not files, and without a file to write.

    Args:
        source: The input.
        target: The output; only a path can be resumed.
        findings_source: The model inference, or the file of recorded findings.
        settings: All settings that affect the result, besides the source and `findings_source`, as fields of a RESUME
            fingerprint.
        duration: Duration of the source in seconds, see `seconds_of`.
        console: Where to report that a run resumes or starts over.
        side_output: File next to which the work folder lies if there is no target; several sources may share it.
        part: The part of the source that is worked on by itself, in a work folder of its own, which is kept. Without
            it the work of all parts is taken over.

    Yields:
        `findings_source`, with logged predictions for a model inference; and the work folder, or None.

    Raises:
        OutputError: The work folder can't be written, or another run has it open.
    """
    output = target
    if target is None and side_output:
        output = side_output.with_name(f"{side_output.name}.{source.relative.name}")
    findings = findings_source if isinstance(findings_source, Path) else None
    long_enough = duration >= MIN_SECONDS and source.path and os.path.isfile(source.path)
    if not isinstance(output, Path) or not long_enough or not _is_reusable(findings):
        yield findings_source, None
        return
    detection = (
        findings_source.settings if isinstance(findings_source, ModelInference) else {"findings": findings_source}
    )
    digest = fingerprint(RESUME, mdtool=__version__, source=source.path, **detection, **settings)
    if part:
        output = output.with_name(f"{output.name}{PART_SUFFIX}{part.number}")
    with WorkFolder(output, digest) as folder:
        if part is None:
            folder.take_over_parts()
        if folder.was_reset:
            console.note(f"{source.name}: settings have changed since the previous run; starting over")
        if folder.known:
            console.note(f"{source.name}: resuming the previous run")
        if isinstance(findings_source, ModelInference):
            findings_source = replace(findings_source, detect=folder.memoize(findings_source.detect))
        yield findings_source, folder
        if part:
            folder.keep()
        else:
            folder.done()


def seconds_of(media: object) -> float:
    """Return the duration of a video in seconds; 0 if unknown, and for anything else."""
    return media.seconds or 0.0 if isinstance(media, VideoReader) else 0.0


def seconds_of_file(source: Input) -> float:
    """Return the duration of a video file in seconds; 0 for anything else, and for what can't be read."""
    if source.path is None or not os.path.isfile(source.path) or sniff_file(source.path):
        return 0.0
    try:
        with VideoReader(source.path.absolute()) as reader:
            return seconds_of(reader)
    except (OSError, InputError):
        return 0.0


def _is_reusable(findings: Path | None) -> bool:
    """Return False for piped findings, which a later run can't identify."""
    return findings is None or os.path.isfile(findings)
