"""Process one input of any kind into an output file, which appears only when it is complete."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from mdtool.errors import OutputError, UsageError, output_errors_for, write_error_message
from mdtool.interruption import raise_if_interrupted
from mdtool.media.file_types import STILL_SUFFIXES
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.pipe import PipeWriter
from mdtool.media.files.spool import spool
from mdtool.media.image.animation import Animation
from mdtool.media.image.image_file import StillImage
from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.live import LiveReader
from mdtool.media.sources.open_media import Media, open_live, open_media
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.writer import VideoWriter, muxer_for
from mdtool.pipeline.image import process_animation, process_image
from mdtool.pipeline.live_output import process_live
from mdtool.pipeline.run import OutputOptions, Run
from mdtool.pipeline.targets import Target, alternatives, check_not_left, incomplete, unverified
from mdtool.pipeline.video import process_video
from mdtool.records.run_report import Report


def process_input(
    source: Input,
    target: Target,
    run: Run,
    *,
    overwrite: bool,
    media: LiveReader | Media | None = None,
) -> Report:
    """Process one input, and write the result.

    On an error no target is left, except what was received from a live source before it was lost. The output of an
    input that can be read only in part has another name, `incomplete`: a model may miss what damaged frames show.

    Args:
        source: The input.
        target: File to write, streaming address, or None for stdout.
        run: Where findings come from, the effect, and how to write.
        overwrite: Replace an existing file.
        media: The source as opened by `open_input`; None to open it here, a pipe after the target was checked.

    Returns:
        The report: counts, notes, and seconds per stage.

    Raises:
        InputError: The input can't be read, or recorded findings don't match it.
        OutputError: The target exists, or can't be written.
        UsageError: The target does not suit the kind of input.
        EngineError: The model failed, unless the request masks such frames.
    """
    begin = time.perf_counter()
    report = Report(source.name, "-" if target is None else str(target), run.model)
    with output_errors_for(target or "stdout"), ExitStack() as stack:
        opened = media or open_live(source, stack, run.live.duration)
        if opened is None and source.path:  # what is wrong with a file is said before what is wrong with its output
            opened = open_media(source, stack)
        if isinstance(opened, LiveReader):
            process_live(opened, target, run, report, overwrite=overwrite)
        elif isinstance(target, Address):
            raise UsageError(f"-o {target}: only a live input can be sent to an address; give a file name")
        else:
            if target and not overwrite:
                check_not_left(target, run.verify is not None)
            atomic = stack.enter_context(AtomicFile(target, overwrite)) if target else None
            if atomic:
                atomic.restrict(source.path)
            _process_file(opened or open_media(source, stack), atomic, target, run, report=report)
    report.seconds = time.perf_counter() - begin
    report.stages = run.clock.seconds
    return report


def open_input(source: Input, stack: ExitStack, duration: float | None = None) -> LiveReader | Media:
    """Open an input of any kind.

    Args:
        source: The input.
        stack: Closes the input.
        duration: Seconds after which a live source ends; None for no limit.

    Raises:
        InputError: The input can't be opened.
    """
    return open_live(source, stack, duration) or open_media(source, stack)


def check_target(source: Input, target: Path, output_options: OutputOptions, *, overwrite: bool) -> None:
    """Check that a target can be written, before a long analysis of the source begins.

    Raises:
        InputError, OutputError, UsageError: As `process_input` would raise.
    """
    with output_errors_for(target), ExitStack() as stack:
        media = open_media(source, stack)
        atomic = stack.enter_context(AtomicFile(target, overwrite))
        if isinstance(media, VideoReader):
            muxer = output_options.muxer or muxer_for(target.name)
            VideoWriter(
                atomic.part, muxer, media, encoding=output_options.encoding, keep_metadata=output_options.keep_metadata
            ).abandon()
        else:
            _check_suffix(media, target)


def _process_file(media: Media, atomic: AtomicFile | None, target: Path | None, run: Run, *, report: Report) -> None:
    if atomic is None:
        _process_to_stdout(media, run, report)
        raise_if_interrupted()
        return
    assert target
    if isinstance(media, VideoReader):
        muxer = run.output_options.muxer or muxer_for(target.name)
        process_video(media, atomic.part, muxer, run, report=report)
    else:
        _check_suffix(media, target)
        with _still_errors(), atomic.part.open("wb") as file:
            _write_still(media, file, run, report)
    raise_if_interrupted()  # an interrupted reader looks like one at its end
    if not _verified(atomic.part, run, report):
        name = unverified(target)
    else:
        name = incomplete(target) if report.incomplete else target
    report.target = str(name)
    atomic.commit(name)
    if name == target and atomic.overwrite:
        for other in alternatives(target, run.verify is not None):
            other.unlink(missing_ok=True)  # of an earlier run


def _process_to_stdout(media: Media, run: Run, report: Report) -> None:
    muxer = run.output_options.muxer or "matroska"
    if isinstance(media, VideoReader) and run.verify is None:
        process_video(media, PipeWriter(sys.stdout.buffer), muxer, run, report=report)
        return
    with spool() as (file, copy):
        if isinstance(media, VideoReader):
            process_video(media, PipeWriter(sys.stdout.buffer, file), muxer, run, report=report)
        else:
            with _still_errors():
                _write_still(media, file, run, report)  # writers of some formats seek back to the header
                file.seek(0)
                out = PipeWriter(sys.stdout.buffer)
                shutil.copyfileobj(file, out)
                out.check()
        raise_if_interrupted()  # an interrupted reader looks like one at its end
        file.flush()
        _verified(copy, run, report)


def _verified(output: Path, run: Run, report: Report) -> bool:
    """Return whether an output may have its name: it is verified, or need not be."""
    if run.verify is None:
        return True
    with run.clock.time("verify"):
        return run.verify(output, report)


@contextmanager
def _still_errors() -> Iterator[None]:
    """Raise an OSError of writing a still image or an animation as an OutputError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(write_error_message(error)) from error


def _check_suffix(media: StillImage | Animation, target: Path) -> None:
    suffixes = STILL_SUFFIXES[media.format]
    if target.suffix.lower() not in suffixes:
        raise UsageError(f"{target}: images and animations keep their format; end the name in {suffixes[0]}")


def _write_still(media: StillImage | Animation, file: BinaryIO, run: Run, report: Report) -> None:
    if isinstance(media, StillImage):
        process_image(media, file, run, report)
    else:
        process_animation(media, file, run, report)
