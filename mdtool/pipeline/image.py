"""Makes a treated copy of a photo or an animation."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from engine.contract import EngineError
from mdtool.media.canvas import of_photo, of_rgba
from mdtool.media.image.animation import Animation
from mdtool.media.image.animation_writer import AnimationWriter
from mdtool.media.image.image_encoder import write_photo
from mdtool.media.image.image_file import Photo
from mdtool.media.video.frame import Frame
from mdtool.pipeline.annotate import annotate
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.run import Inquiry, Run
from mdtool.pipeline.stages import Stopwatch
from mdtool.pipeline.video import recorded_frames
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

MILLISECONDS = Fraction(1, 1000)
RATE = 10.0  # frames a second of an animation, more or less


def rework_photo(photo: Photo, file: BinaryIO, run: Run, report: Report) -> None:
    moment, verdict = annotated_photo(photo, run.known, run.clock)
    run.note(report, moment, verdict)
    with run.clock.time("paint"):
        run.treatment.paint(of_photo(photo), moment, verdict)
    with run.clock.time("encode"):
        write_photo(photo, file, run.form.keep_metadata)
    report.notes += photo.notes


def annotated_photo(
    photo: Photo, known: Inquiry | RecordedFindings, clock: Stopwatch
) -> tuple[FrameInfo, FrameFindings]:
    height, width = photo.pixels.shape[:2]
    moment = FrameInfo(size=(width, height))
    if isinstance(known, RecordedFindings):
        return moment, known.of(0, 0, moment.size)
    try:
        with clock.time("model"):
            found = known.detect([photo.srgb()])[0]
    except EngineError:
        if not known.question.blank_errors:
            raise
        return moment, FrameFindings(hidden=True)
    regions = [replace(region, track=number) for number, region in enumerate(found.regions, 1)]
    return moment, FrameFindings(regions, looked=True, cut=True, replies=dict(found.replies))


def rework_animation(animation: Animation, file: BinaryIO, run: Run, report: Report) -> None:
    """The same way as a video, but for the codec: frames are whole pictures with transparency."""
    with AnimationWriter(file, like=animation, keep_metadata=run.form.keep_metadata) as writer:
        for annotated, before, milliseconds in annotated_animation(animation, run.known, run.clock):
            moment = annotated.moment
            run.note(report, moment, annotated.verdict)
            if run.edit.cut.holds(moment.time):
                continue
            pixels = before.copy()
            with run.clock.time("paint"):
                run.treatment.paint(of_rgba(pixels), moment, annotated.verdict)
            with run.clock.time("encode"):
                writer.add(pixels, milliseconds, before=before)
            report.duration = moment.time + moment.duration
            run.progress(report, animation.frame_count)
    report.notes += animation.notes


def annotated_animation(
    animation: Animation, known: Inquiry | RecordedFindings, clock: Stopwatch
) -> Iterator[tuple[AnnotatedFrame, np.ndarray, Fraction]]:
    """Each frame with what is known of it, its pixels (HxWx4 uint8), and for how many milliseconds it is shown."""
    canvases: deque[tuple[np.ndarray, Fraction]] = deque()  # of the frames that are being judged

    def frames() -> Iterator[Frame]:
        at = Fraction(0)
        for index, (pixels, milliseconds) in enumerate(animation.frames()):
            canvases.append((pixels, milliseconds))
            picture = av.VideoFrame.from_ndarray(animation.srgb(pixels), format="rgb24")
            yield Frame(picture, index, round(at), MILLISECONDS, round(milliseconds))
            at += milliseconds

    if isinstance(known, RecordedFindings):
        events: Iterator[AnnotatedFrame | av.Packet] = recorded_frames(frames(), known)
    else:
        events = annotate(frames(), known.detect, known.question, lambda stream: RATE, clock=clock)
    for annotated in events:
        assert isinstance(annotated, AnnotatedFrame)
        yield annotated, *canvases.popleft()
