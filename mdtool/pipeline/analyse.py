"""Finds out what an input shows: all there is to do where no picture is made, else the first half."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing

from mdtool.errors import TooSlow
from mdtool.interruption import check_not_ending
from mdtool.media.image.image_file import Photo
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import Medium, open_live, open_medium
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.image import annotated_animation, annotated_photo
from mdtool.pipeline.live import LiveAnnotator
from mdtool.pipeline.live_output import followed
from mdtool.pipeline.run import Inquiry, Live
from mdtool.pipeline.stages import Stopwatch, ahead
from mdtool.pipeline.video import annotated_video, frames_waiting, with_luma
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame


def analyse(
    source: Input,
    inquiry: Inquiry,
    noted: Callable[[FrameInfo, FrameFindings], None],
    progress: Callable[[Report, int | None], None],
    *,
    live: Live,
    timeout: float | None = None,
) -> Report:
    """noted: is told of every frame, in order. What plays live is followed until it ends or the person interrupts.
    timeout: seconds that reading a frame of anything else may take.

    Raises InputError, OutputError or EngineError.
    """
    report = Report(source.name, "", inquiry.model)
    with closing(analysed(source, inquiry, report, progress, live=live, timeout=timeout)) as frames:
        for moment, verdict in frames:
            noted(moment, verdict)
    return report


def analysed(
    source: Input,
    inquiry: Inquiry,
    report: Report,
    progress: Callable[[Report, int | None], None],
    *,
    live: Live,
    timeout: float | None = None,
) -> Generator[tuple[FrameInfo, FrameFindings]]:
    """As `analyse`, a frame at a time. The report is whole when they have ended."""
    begin, clock = time.perf_counter(), Stopwatch()

    def reached(moment: FrameInfo, frames: int | None) -> None:
        report.reach(moment)
        progress(report, frames)

    with ExitStack() as stack:
        if reader := open_live(source, stack, live.duration):
            annotator = LiveAnnotator(
                reader, inquiry.detect, inquiry.question, delay=live.delay, clock=clock, blanks=False
            )
            with followed(annotator, report) as events:
                for event in events:
                    if isinstance(event, AnnotatedFrame):
                        report.count(event.moment, event.verdict)
                        yield event.moment, event.verdict
                        reached(event.moment, None)
            report.notes.append(annotator.told())
        else:
            medium = open_medium(source, stack)
            try:
                for moment, verdict in stack.enter_context(closing(_annotated(medium, inquiry, clock, timeout))):
                    report.count(moment, verdict)
                    yield moment, verdict
                    reached(moment, _frames(medium))
            except TooSlow:
                stack.pop_all()  # for who reads it may be in the midst of it
                raise
            check_not_ending()  # for then the input may only seem to be at its end
            if isinstance(medium, VideoReader):
                report.incomplete = f"is damaged: {medium.damage}" if medium.damage else ""
            else:
                report.notes += medium.notes
    report.seconds, report.stages = time.perf_counter() - begin, clock.seconds


def _annotated(
    medium: Medium, inquiry: Inquiry, clock: Stopwatch, timeout: float | None
) -> Generator[tuple[FrameInfo, FrameFindings]]:
    if isinstance(medium, Photo):
        yield annotated_photo(medium, inquiry, clock)
    elif isinstance(medium, VideoReader):
        with closing(ahead(with_luma(clock.each("decode", medium)), frames_waiting(medium), timeout)) as decoded:
            for event in annotated_video(decoded, inquiry, medium, clock):
                if isinstance(event, AnnotatedFrame):
                    yield event.moment, event.verdict
    else:
        for annotated, *_ in annotated_animation(medium, inquiry, clock):
            yield annotated.moment, annotated.verdict


def _frames(medium: Medium) -> int | None:
    if isinstance(medium, VideoReader):
        return medium.frames
    return 1 if isinstance(medium, Photo) else medium.frame_count
