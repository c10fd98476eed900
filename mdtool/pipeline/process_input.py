"""Makes a treated copy of one input, whatever it is, and writes it whole or not at all."""

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from mdtool.errors import OutputError, UsageError, cant_write, named
from mdtool.interruption import check_not_ending
from mdtool.media.files.atomic_file import WholeFile
from mdtool.media.files.pipe import PipedOut
from mdtool.media.image.animation import Animation
from mdtool.media.image.image_file import Photo
from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.live import LiveReader
from mdtool.media.sources.open_media import Medium, open_live, open_medium
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.writer import VideoWriter, muxer_for
from mdtool.pipeline.image import rework_animation, rework_photo
from mdtool.pipeline.live_output import rework_live
from mdtool.pipeline.run import Form, Run
from mdtool.pipeline.targets import Target
from mdtool.pipeline.video import rework_video
from mdtool.records.run_report import Report

STILL_SUFFIXES = {
    "jpeg": (".jpg", ".jpeg"), "png": (".png", ".apng"), "gif": (".gif",), "webp": (".webp",),
    "tiff": (".tif", ".tiff"), "avif": (".avif",),
}  # fmt: skip


def rework(
    source: Input,
    target: Target,
    run: Run,
    *,
    overwrite: bool,
    medium: LiveReader | Medium | None = None,
) -> Report:
    """Writes source, treated, to target, which appears only when it is whole.

    medium: source, as `open_input` has opened it; None: it is opened here, once it is known that target can be written.
    Raises InputError, OutputError, EngineError or UsageError; then there is no target, save what a source that plays
    live had given before it was lost.
    """
    begin = time.perf_counter()
    report = Report(source.name, "-" if target is None else str(target), run.model)
    with named(target or "stdout"), ExitStack() as stack:
        live = medium if medium else open_live(source, stack, run.live.duration)
        if isinstance(live, LiveReader):
            rework_live(live, target, run, report, overwrite=overwrite)
        elif isinstance(target, Address):
            raise UsageError(f"-o {target}: takes only what plays live; give a file name for the result of a file")
        else:
            whole = stack.enter_context(WholeFile(target, overwrite)) if target else None
            _rework_file(live or open_medium(source, stack), whole, target, run, report=report)
    report.seconds = time.perf_counter() - begin
    report.stages = run.clock.seconds
    return report


def open_input(source: Input, stack: ExitStack, duration: float | None = None) -> LiveReader | Medium:
    """Whatever it is, left open until the stack is closed. duration: seconds after which what plays live ends.

    Raises InputError.
    """
    return open_live(source, stack, duration) or open_medium(source, stack)


def check_target(source: Input, target: Path, form: Form, *, overwrite: bool) -> None:
    """Raises what `rework` would where the target can't be written, for those who have much to do before."""
    with named(target), ExitStack() as stack:
        whole = stack.enter_context(WholeFile(target, overwrite))
        medium = open_medium(source, stack)
        if isinstance(medium, VideoReader):
            muxer = form.muxer or muxer_for(target.name)
            VideoWriter(whole.part, muxer, medium, encoding=form.encoding, keep_metadata=form.keep_metadata).abandon()
        else:
            _check_suffix(medium, target)


def _rework_file(medium: Medium, whole: WholeFile | None, target: Path | None, run: Run, *, report: Report) -> None:
    if isinstance(medium, VideoReader):
        muxer = run.form.muxer or (muxer_for(target.name) if target else "matroska")
        rework_video(medium, whole.part if whole else PipedOut(sys.stdout.buffer), muxer, run, report=report)
    else:
        if target:
            _check_suffix(medium, target)
        _rework_still(medium, whole, run, report)
    check_not_ending()  # for then the input may only seem to be at its end
    if whole:
        whole.commit()


def _rework_still(medium: Photo | Animation, whole: WholeFile | None, run: Run, report: Report) -> None:
    try:
        if whole:
            with whole.part.open("wb") as file:
                _write_still(medium, file, run, report)
        else:
            with tempfile.TemporaryFile(prefix="mdtool-") as spool:  # some formats go back to their header
                _write_still(medium, spool, run, report)
                spool.seek(0)
                out = PipedOut(sys.stdout.buffer)
                shutil.copyfileobj(spool, out)
                out.check()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(cant_write(error)) from error


def _check_suffix(medium: Photo | Animation, target: Path) -> None:
    suffixes = STILL_SUFFIXES[medium.format]
    if target.suffix.lower() not in suffixes:
        raise UsageError(f"{target}: photos and animations keep their format; end the name in {suffixes[0]}")


def _write_still(medium: Photo | Animation, file: BinaryIO, run: Run, report: Report) -> None:
    if isinstance(medium, Photo):
        rework_photo(medium, file, run, report)
    else:
        rework_animation(medium, file, run, report)
