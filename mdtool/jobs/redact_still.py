"""Hides what was asked for in a photo or an animation."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from engine.contract import UNLIMITED, EngineError
from mdtool.findings import Region, Verdict
from mdtool.jobs.redaction import Run
from mdtool.jobs.report import Report
from mdtool.media.animation import Animation
from mdtool.media.animation_write import AnimationWriter
from mdtool.media.frame import Frame
from mdtool.media.photo import Photo
from mdtool.media.photo_encode import write_photo
from mdtool.stream.judge import judge
from mdtool.stream.watch import Judged

MILLISECONDS = Fraction(1, 1000)


def redact_photo(photo: Photo, file: BinaryIO, run: Run, report: Report) -> None:
    redaction, clock = run.redaction, run.clock
    verdict = run.recorded.of(0, 0) if run.recorded else _look(photo, run)
    run.note(report, 0, 0, 0.0, verdict)
    height, width = photo.pixels.shape[:2]
    with clock.time("paint"):
        canvas, fill = photo.planes(), photo.fill(redaction.colour)
        alpha = photo.alpha()
        if alpha is not None:  # it can draw a face all by itself
            canvas, fill = [*canvas, alpha], [*fill, int(np.iinfo(alpha.dtype).max)]
        redaction.hide(canvas, fill, verdict, (width, height))
    with clock.time("encode"):
        write_photo(photo, file, redaction.keep_metadata)
    report.notes += photo.notes


def _look(photo: Photo, run: Run) -> Verdict:
    assert run.model is not None
    question = run.redaction.question
    try:
        with run.clock.time("model"):
            encoded = run.model.encode([photo.rgb()])
            found = [
                b for p in question.prompts for b in run.model.detect(encoded, p, question.threshold, UNLIMITED)[0]
            ]
    except EngineError:
        if not question.blank_errors:
            raise
        return Verdict(hidden=True)
    return Verdict(
        [
            Region(b.x_min, b.y_min, b.x_max, b.y_max, b.label, number, b.score, seen=True)
            for number, b in enumerate(found, 1)
        ],
        looked=True,
    )


def redact_animation(animation: Animation, file: BinaryIO, run: Run, report: Report) -> None:
    """The same way as a video, but for the codec: frames are whole pictures with transparency."""
    redaction = run.redaction
    canvases: deque[tuple[np.ndarray, Fraction]] = deque()  # of the frames that are being judged

    def frames() -> Iterator[Frame]:
        at = Fraction(0)
        for index, (pixels, milliseconds) in enumerate(animation.frames()):
            canvases.append((pixels, milliseconds))
            picture = av.VideoFrame.from_ndarray(pixels, format="rgba")
            yield Frame(picture, index=index, pts=round(at), time_base=MILLISECONDS)
            at += milliseconds

    if run.recorded:
        recorded = run.recorded
        judged: Iterator[Judged | av.Packet] = (Judged(f, recorded.of(0, f.index)) for f in frames())
    else:
        assert run.model is not None
        judged = judge(frames(), run.model, redaction.question, lambda stream: 10.0, run.clock)
    with AnimationWriter(file, like=animation, keep_metadata=redaction.keep_metadata) as writer:
        for one in judged:
            assert isinstance(one, Judged)
            before, milliseconds = canvases.popleft()
            run.note(report, 0, one.frame.index, one.frame.time, one.verdict)
            pixels = before.copy()
            with run.clock.time("paint"):
                channels = [pixels[:, :, channel] for channel in range(4)]
                redaction.hide(channels, [*redaction.colour, 255], one.verdict, (animation.width, animation.height))
            with run.clock.time("encode"):
                writer.add(pixels, milliseconds, before=before)
            report.duration = one.frame.time + float(milliseconds) / 1000
            run.progress(report, animation.frame_count)
    report.notes += animation.notes
