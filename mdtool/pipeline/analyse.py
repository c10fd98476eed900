"""Run detection and tracking over one input, without writing an output image or video."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing

from mdtool.errors import ReadTimeout
from mdtool.interruption import raise_if_interrupted
from mdtool.media.image.image_file import StillImage
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import Media, open_live, open_media
from mdtool.media.video.reader import VideoReader
from mdtool.memory import ACCOUNT
from mdtool.pipeline.image import annotate_animation, annotate_image
from mdtool.pipeline.live import LiveAnnotator
from mdtool.pipeline.live_output import live_events
from mdtool.pipeline.run import LiveSettings, ModelInference
from mdtool.pipeline.stages import Stopwatch, prefetch
from mdtool.pipeline.video import FEWEST_FRAMES, annotate_video, precompute_luma, queue_depth
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame


def analyse(
    source: Input,
    inference: ModelInference,
    on_frame: Callable[[FrameInfo, FrameFindings], None],
    progress: Callable[[Report, int | None], None],
    *,
    live: LiveSettings,
    timeout: float | None = None,
) -> Report:
    """Analyse one input and pass the findings of every frame to a callback.

    A live source is read until it ends, or until the person interrupts.

    Args:
        source: The image, animation, video or live source.
        inference: The model and what to detect.
        on_frame: Called for every frame, in presentation order.
        progress: Called after every frame with the report so far and the number of frames, None if unknown.
        live: Delay and duration of a live source.
        timeout: Seconds that reading a frame of a file may take; None for no limit.

    Returns:
        The report: counts, notes, and seconds per stage.

    Raises:
        InputError: The input can't be read, or takes longer than `timeout`.
        OutputError: `on_frame` or the prediction log can't write.
        EngineError: The model failed.
    """
    report = Report(source.name, "", inference.model)
    with closing(iter_findings(source, inference, report, progress, live=live, timeout=timeout)) as frames:
        for info, findings in frames:
            on_frame(info, findings)
    return report


def iter_findings(
    source: Input,
    inference: ModelInference,
    report: Report,
    progress: Callable[[Report, int | None], None],
    *,
    live: LiveSettings,
    timeout: float | None = None,
) -> Generator[tuple[FrameInfo, FrameFindings]]:
    """Iterate over the findings of every frame; `analyse` as a generator.

    Args:
        source: See `analyse`.
        inference: See `analyse`.
        report: Filled in place; complete when the generator is exhausted.
        progress: See `analyse`.
        live: See `analyse`.
        timeout: See `analyse`.

    Yields:
        Frame info and findings of each frame, in presentation order.

    Raises:
        InputError, OutputError, EngineError: See `analyse`.
    """
    begin, clock = time.perf_counter(), Stopwatch()

    def reached(info: FrameInfo, frames: int | None) -> None:
        report.reach(info)
        progress(report, frames)

    with ExitStack() as stack:
        if reader := open_live(source, stack, live.duration):
            annotator = LiveAnnotator(
                reader, inference.detect, inference.request, delay=live.delay, clock=clock, blank_late=False
            )
            with live_events(annotator, report) as events:
                for event in events:
                    if isinstance(event, AnnotatedFrame):
                        report.count(event.info, event.findings)
                        yield event.info, event.findings
                        reached(event.info, None)
            report.notes.append(annotator.summary())
        else:
            media = open_media(source, stack)
            try:
                for info, findings in stack.enter_context(closing(_annotated(media, inference, clock, timeout))):
                    report.count(info, findings)
                    yield info, findings
                    reached(info, _frames(media))
            except ReadTimeout:
                stack.pop_all()  # the decoding thread may still be using the reader: leave it open
                raise
            raise_if_interrupted()  # an interrupted reader looks like one at its end
            if isinstance(media, VideoReader):
                report.incomplete = f"damaged: {media.damage}" if media.damage else ""
            report.notes += media.notes
    report.seconds, report.stages = time.perf_counter() - begin, clock.seconds


def _annotated(
    media: Media, inference: ModelInference, clock: Stopwatch, timeout: float | None
) -> Generator[tuple[FrameInfo, FrameFindings]]:
    if isinstance(media, StillImage):
        yield annotate_image(media, inference, clock)
    elif isinstance(media, VideoReader):
        depth = queue_depth(media)
        with (
            ACCOUNT.holding(FEWEST_FRAMES * media.frame_bytes),
            closing(prefetch(precompute_luma(clock.each("decode", media)), depth, timeout)) as decoded,
        ):
            for event in annotate_video(decoded, inference, media, clock):
                if isinstance(event, AnnotatedFrame):
                    yield event.info, event.findings
    else:
        for annotated, *_ in annotate_animation(media, inference, clock):
            yield annotated.info, annotated.findings


def _frames(media: Media) -> int | None:
    if isinstance(media, VideoReader):
        return media.frames
    return 1 if isinstance(media, StillImage) else media.frame_count
