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
from mdtool.pipeline.image import judged_animation, judged_photo
from mdtool.pipeline.live import LiveJudge
from mdtool.pipeline.live_output import followed
from mdtool.pipeline.run import Inquiry, Live
from mdtool.pipeline.stages import Stopwatch, ahead
from mdtool.pipeline.video import frames_waiting, judged_video, with_luma
from mdtool.records.findings import Moment, Verdict
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import Judged


def analyse(
    source: Input,
    inquiry: Inquiry,
    noted: Callable[[Moment, Verdict], None],
    progress: Callable[[Report, int | None], None],
    live: Live,
    timeout: float | None = None,
) -> Report:
    """noted: is told of every frame, in order. What plays live is followed until it ends or the person interrupts.
    timeout: seconds that reading a frame of anything else may take.

    Raises InputError, OutputError or EngineError.
    """
    report = Report(source.name, "", inquiry.model)
    with closing(analysed(source, inquiry, report, progress, live, timeout)) as frames:
        for moment, verdict in frames:
            noted(moment, verdict)
    return report


def analysed(
    source: Input,
    inquiry: Inquiry,
    report: Report,
    progress: Callable[[Report, int | None], None],
    live: Live,
    timeout: float | None = None,
) -> Generator[tuple[Moment, Verdict]]:
    """As `analyse`, a frame at a time. The report is whole when they have ended."""
    begin, clock = time.perf_counter(), Stopwatch()

    def reached(moment: Moment, frames: int | None) -> None:
        report.reach(moment)
        progress(report, frames)

    with ExitStack() as stack:
        if reader := open_live(source, stack, live.duration):
            judge = LiveJudge(reader, inquiry.see, inquiry.question, live.delay, clock, blanks=False)
            with followed(judge, report) as events:
                for event in events:
                    if isinstance(event, Judged):
                        report.count(event.moment, event.verdict)
                        yield event.moment, event.verdict
                        reached(event.moment, None)
            report.notes.append(judge.told())
        else:
            medium = open_medium(source, stack)
            try:
                for moment, verdict in stack.enter_context(closing(_judged(medium, inquiry, clock, timeout))):
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


def _judged(
    medium: Medium, inquiry: Inquiry, clock: Stopwatch, timeout: float | None
) -> Generator[tuple[Moment, Verdict]]:
    if isinstance(medium, Photo):
        yield judged_photo(medium, inquiry, clock)
    elif isinstance(medium, VideoReader):
        with closing(ahead(with_luma(clock.each("decode", medium)), frames_waiting(medium), timeout)) as decoded:
            for event in judged_video(decoded, inquiry, medium, clock):
                if isinstance(event, Judged):
                    yield event.moment, event.verdict
    else:
        for judged, *_ in judged_animation(medium, inquiry, clock):
            yield judged.moment, judged.verdict


def _frames(medium: Medium) -> int | None:
    if isinstance(medium, VideoReader):
        return medium.frames
    return 1 if isinstance(medium, Photo) else medium.frame_count
