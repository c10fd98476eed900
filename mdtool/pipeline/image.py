"""Analyse a still image or an animation, and write its processed copy."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from engine.contract import EngineError
from mdtool.media.canvas import image_canvas, rgba_canvas
from mdtool.media.image.animation import Animation
from mdtool.media.image.animation_writer import AnimationWriter
from mdtool.media.image.image_encoder import write_image
from mdtool.media.image.image_file import StillImage
from mdtool.media.video.frame import Frame
from mdtool.pipeline.annotate import AnnotatedEvent, annotate
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.media_frames import animation_frames
from mdtool.pipeline.run import ModelInference, Run
from mdtool.pipeline.stages import Stopwatch
from mdtool.pipeline.video import recorded_frames
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame
from mdtool.tracking.turned_views import ViewSearch

ANIMATION_FPS = 10.0  # typical frame rate, for the keyframe distance


def process_image(image: StillImage, file: BinaryIO, run: Run, report: Report) -> None:
    """Analyse a still image, paint it in place, and write it in its own format.

    Args:
        image: The image; its pixels are changed.
        file: Seekable file to write to.
        run: Findings source, effect and output options.
        report: Filled in place.

    Raises:
        InputError: Recorded findings don't match the image.
        EngineError: The model failed, unless the request has `blank_errors`.
    """
    info, findings = annotate_image(image, run.findings_source, run.clock)
    run.note(report, info, findings)
    with run.clock.time("paint"):
        run.effect.paint(image_canvas(image), info, findings)
    with run.clock.time("encode"):
        write_image(image, file, run.output_options.keep_metadata)
    report.notes += image.notes


def annotate_image(
    image: StillImage, findings_source: ModelInference | RecordedFindings, clock: Stopwatch
) -> tuple[FrameInfo, FrameFindings]:
    """Return the findings of a still image, from the model or as recorded; each object has a track of its own.

    Raises:
        InputError: Recorded findings don't match the image.
        EngineError: The model failed, unless the request has `blank_errors`.
    """
    height, width = image.pixels.shape[:2]
    info = FrameInfo(size=(width, height))
    if isinstance(findings_source, RecordedFindings):
        findings = findings_source.for_frame(0, 0, info.size)
        findings_source.check_end()  # a second record of the image is an error, and would not be read otherwise
        return info, findings
    try:
        with clock.time("model"):
            views = ViewSearch(findings_source.detect, findings_source.request.view)
            found = views.detect_image(image.srgb())
    except EngineError:
        if not findings_source.request.blank_errors:
            raise
        return info, FrameFindings(hidden=True)
    regions = [replace(region, track=number) for number, region in enumerate(found.regions, 1)]
    return info, FrameFindings(regions, analysed=True, cut=True, replies=dict(found.replies))


def process_animation(animation: Animation, file: BinaryIO, run: Run, report: Report) -> None:
    """Analyse, paint and write an animation frame by frame, like a video, but with full RGBA frames.

    Args:
        animation: The animation.
        file: Seekable file to write to.
        run: Findings source, effect, edit and output options.
        report: Filled in place.

    Raises:
        InputError: The animation can't be decoded, or recorded findings don't match it.
        EngineError: The model failed, unless the request has `blank_errors`.
    """
    with AnimationWriter(file, like=animation, keep_metadata=run.output_options.keep_metadata) as writer:
        for annotated, before, milliseconds in annotate_animation(animation, run.findings_source, run.clock):
            info = annotated.info
            run.note(report, info, annotated.findings)
            if run.edit.cut.contains(info.time):
                continue
            pixels = before.copy()
            with run.clock.time("paint"):
                run.effect.paint(rgba_canvas(pixels), info, annotated.findings)
            with run.clock.time("encode"):
                writer.add(pixels, milliseconds, before=before)
            report.duration = info.time + info.duration
            run.progress(report, animation.frame_count)
    report.notes += animation.notes


def annotate_animation(
    animation: Animation, findings_source: ModelInference | RecordedFindings, clock: Stopwatch
) -> Iterator[tuple[AnnotatedFrame, np.ndarray, Fraction]]:
    """Annotate the frames of an animation, from the model or with recorded findings.

    Yields:
        For each frame its findings, its RGBA pixels (HxWx4, uint8), and its duration in milliseconds.

    Raises:
        InputError: The animation can't be decoded, or recorded findings don't match it.
        EngineError: The model failed, unless the request has `blank_errors`.
    """
    canvases: deque[tuple[np.ndarray, Fraction]] = deque()  # of the frames that are not annotated yet

    def frames() -> Iterator[Frame]:
        for frame, pixels, milliseconds in animation_frames(animation):
            canvases.append((pixels, milliseconds))
            yield frame

    if isinstance(findings_source, RecordedFindings):
        events: Iterator[AnnotatedEvent] = recorded_frames(frames(), findings_source)
    else:
        events = annotate(
            frames(), findings_source.detect, findings_source.request, lambda stream: ANIMATION_FPS, clock=clock
        )
    for annotated in events:
        assert isinstance(annotated, AnnotatedFrame)
        yield annotated, *canvases.popleft()
