"""Makes a treated copy of one input, whatever it is, and writes it whole or not at all."""

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from mdtool.errors import OutputError, UsageError, output_errors_for, write_error_message
from mdtool.interruption import raise_if_interrupted
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.pipe import PipeWriter
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
from mdtool.pipeline.targets import Target
from mdtool.pipeline.video import process_video
from mdtool.records.run_report import Report

STILL_SUFFIXES = {
    "jpeg": (".jpg", ".jpeg"), "png": (".png", ".apng"), "gif": (".gif",), "webp": (".webp",),
    "tiff": (".tif", ".tiff"), "avif": (".avif",),
}  # fmt: skip


def process_input(
    source: Input,
    target: Target,
    run: Run,
    *,
    overwrite: bool,
    media: LiveReader | Media | None = None,
) -> Report:
    """Writes source, treated, to target, which appears only when it is whole.

    medium: source, as `open_input` has opened it; None: it is opened here, once it is known that target can be written.
    Raises InputError, OutputError, EngineError or UsageError; then there is no target, save what a source that plays
    live had given before it was lost.
    """
    begin = time.perf_counter()
    report = Report(source.name, "-" if target is None else str(target), run.model)
    with output_errors_for(target or "stdout"), ExitStack() as stack:
        live = media if media else open_live(source, stack, run.live.duration)
        if isinstance(live, LiveReader):
            process_live(live, target, run, report, overwrite=overwrite)
        elif isinstance(target, Address):
            raise UsageError(f"-o {target}: takes only what plays live; give a file name for the result of a file")
        else:
            whole = stack.enter_context(AtomicFile(target, overwrite)) if target else None
            _process_file(live or open_media(source, stack), whole, target, run, report=report)
    report.seconds = time.perf_counter() - begin
    report.stages = run.clock.seconds
    return report


def open_input(source: Input, stack: ExitStack, duration: float | None = None) -> LiveReader | Media:
    """Whatever it is, left open until the stack is closed. duration: seconds after which what plays live ends.

    Raises InputError.
    """
    return open_live(source, stack, duration) or open_media(source, stack)


def check_target(source: Input, target: Path, output_options: OutputOptions, *, overwrite: bool) -> None:
    """Raises what `process_input` would where the target can't be written, for those who have much to do before."""
    with output_errors_for(target), ExitStack() as stack:
        whole = stack.enter_context(AtomicFile(target, overwrite))
        media = open_media(source, stack)
        if isinstance(media, VideoReader):
            muxer = output_options.muxer or muxer_for(target.name)
            VideoWriter(
                whole.part, muxer, media, encoding=output_options.encoding, keep_metadata=output_options.keep_metadata
            ).abandon()
        else:
            _check_suffix(media, target)


def _process_file(media: Media, whole: AtomicFile | None, target: Path | None, run: Run, *, report: Report) -> None:
    if isinstance(media, VideoReader):
        muxer = run.output_options.muxer or (muxer_for(target.name) if target else "matroska")
        process_video(media, whole.part if whole else PipeWriter(sys.stdout.buffer), muxer, run, report=report)
    else:
        if target:
            _check_suffix(media, target)
        _process_still(media, whole, run, report)
    raise_if_interrupted()  # for then the input may only seem to be at its end
    if whole:
        whole.commit()


def _process_still(media: StillImage | Animation, whole: AtomicFile | None, run: Run, report: Report) -> None:
    try:
        if whole:
            with whole.part.open("wb") as file:
                _write_still(media, file, run, report)
        else:
            with tempfile.TemporaryFile(prefix="mdtool-") as spool:  # some formats go back to their header
                _write_still(media, spool, run, report)
                spool.seek(0)
                out = PipeWriter(sys.stdout.buffer)
                shutil.copyfileobj(spool, out)
                out.check()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(write_error_message(error)) from error


def _check_suffix(media: StillImage | Animation, target: Path) -> None:
    suffixes = STILL_SUFFIXES[media.format]
    if target.suffix.lower() not in suffixes:
        raise UsageError(f"{target}: photos and animations keep their format; end the name in {suffixes[0]}")


def _write_still(media: StillImage | Animation, file: BinaryIO, run: Run, report: Report) -> None:
    if isinstance(media, StillImage):
        process_image(media, file, run, report)
    else:
        process_animation(media, file, run, report)
