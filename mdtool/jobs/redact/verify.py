"""Verifies a redaction: detects again, in the output, and lists what is left visible.

It shows that this model finds nothing in these views of the verified frames, and no more: what the model does not know
stays unknown.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.contract import EngineError
from engine.generation.verbs import VisionModel
from mdtool.console import Console
from mdtool.errors import ExitCode, InputError, UsageError
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.redact.effect import Redaction
from mdtool.jobs.redact.masked_frames import MaskedFrames, unexpected
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_media
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.media_frames import media_frames
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import FrameFindings
from mdtool.records.run_report import Report
from mdtool.records.verification import LeftVisible, Verification
from mdtool.report.times import format_clock
from mdtool.tracking.detector import Detector, object_detector
from mdtool.tracking.pixel_aspect import detect_both_aspects
from mdtool.tracking.sampling import Sampling, parse_sampling
from mdtool.tracking.views import MIN_SCORE, sure_detector, view_detector
from recipes.boxes import grow, iou, size
from recipes.regions import Region

MAX_GAP = 0.5  # seconds between two detections of one object
MAX_LISTED = 20  # spans
VIEWS_VERSION = 1  # to be raised when the views of `mdtool.tracking.views` change


def parse_verify_sampling(text: str) -> Sampling:
    """Parse the value of --verify: "every" or "fps=F".

    Raises:
        ValueError: It is neither.
    """
    try:
        if text == "every" or text.startswith("fps="):
            return parse_sampling(text)
    except UsageError:
        pass
    raise ValueError(f"give every, or a number of frames a second such as fps=2, not {text!r}")


@dataclass(frozen=True)
class Verifier:
    """How outputs are verified.

    Attributes:
        sampling: Which frames: every one, or some per second.
        detect: Runs the model on a batch of images.
        model: Name of the model.
        settings: All that affects its predictions.
    """

    sampling: Sampling
    detect: Detector
    model: str
    settings: str


def make_verifier(
    sampling: Sampling, model: VisionModel, prompts: Sequence[str], threshold: float | None, *, is_other: bool
) -> Verifier:
    """Return how outputs are verified with a model.

    Args:
        sampling: Which frames.
        model: The model.
        prompts: What to detect.
        threshold: Confidence threshold of the redaction, 0..1; None for the model's own. A higher one than that of a
            sure detection is lowered to it.
        is_other: Whether another model has made the findings; one that has not looks at other views.
    """
    if threshold is not None:  # a threshold that misses what is plain to see would miss it here too
        threshold = min(threshold, MIN_SCORE)
    detect = object_detector(model, prompts, threshold)
    settings = repr((VIEWS_VERSION, model.name, model.revision, tuple(prompts), threshold, is_other))
    return Verifier(sampling, (sure_detector if is_other else view_detector)(detect), model.name, settings)


@dataclass(frozen=True)
class OutputVerification:
    """The verification of one output.

    Attributes:
        verifier: How it is verified.
        redaction: How detections were masked.
        masked: What was masked.
        left_out: Objects of recorded findings that a person left out; None without such.
        work: Keeps predictions for a run that resumes, if any.
        progress: Called after every frame with a report so far and the number of frames, None if unknown.
    """

    verifier: Verifier
    redaction: Redaction
    masked: MaskedFrames
    left_out: RecordedFindings | None
    work: WorkFolder | None
    progress: Callable[[Report, int | None], None]

    def check(self, output: Path, report: Report) -> bool:
        """Verify a complete output, and add the result to the report of the run.

        Args:
            output: The file, whatever its name.
            report: The report of the run.

        Returns:
            Whether it could be verified, and nothing was found.
        """
        verification = Verification(self.verifier.model)
        fps = self.verifier.sampling.fps
        spans = SpanCollector(max(MAX_GAP, 1.5 / fps if fps else 0))
        try:
            with ExitStack() as stack:
                detect = self.verifier.detect
                if self.work:
                    log = stack.enter_context(self.work.verification_log(self.verifier.settings))
                    detect = log.memoize(detect)
                for frame, masked, left_out in self._frames(output, stack):
                    verification.frames += 1
                    if not masked.hidden:
                        [found] = detect_both_aspects(detect, [frame])
                        left = unexpected(
                            found.regions, masked.regions, left_out, redaction=self.redaction, size=frame.display_size
                        )
                        for region, in_mask in left:
                            spans.add(frame, region, in_mask)
                    done = Report(report.source, "", frames=frame.index + 1, keyframes=verification.frames)
                    self.progress(done, report.frames)
        except (EngineError, InputError, MemoryError) as error:
            verification.failed = str(error) or "out of memory"
        verification.found = spans.spans
        report.verification = verification
        return verification.passed

    def _frames(self, output: Path, stack: ExitStack) -> Iterator[tuple[Frame, FrameFindings, list[Region]]]:
        """Yield the frames to verify, what was masked on each, and what was left out of it."""
        media = open_media(Input(output, Path(output.name)), stack)
        places = [video.index for video in media.videos] if isinstance(media, VideoReader) else [0]
        streams = dict(zip(places, sorted(self.masked.streams), strict=True))
        recorded, fps = self.masked.recorded(), self.verifier.sampling.fps
        due: dict[int, float] = {}
        for frame in media_frames(media, stack):
            raise_if_interrupted()
            stream = streams[frame.stream]
            try:
                masked = recorded.for_frame(stream, frame.index)
            except InputError as error:
                raise InputError("the output has other frames than the input") from error
            left_out = self.left_out.for_frame(stream, frame.index).regions if self.left_out else []
            if self.masked.is_outside(stream, frame.index) or (fps and frame.time < due.get(stream, frame.time)):
                continue
            due[stream] = frame.time + (1 / fps if fps else 0)
            yield frame, masked, left_out
        raise_if_interrupted()  # an interrupted reader looks like one at its end
        try:
            recorded.check_end()
        except InputError as error:
            raise InputError("the output has fewer frames than the input") from error


class SpanCollector:
    """Joins detections of an object on successive frames to spans.

    Attributes:
        spans: The spans so far, by their first frame.
    """

    def __init__(self, gap: float) -> None:
        """Start without spans; gap: seconds between two detections of one object."""
        self.spans: list[LeftVisible] = []
        self._gap = gap
        self._last: list[tuple[float, Region]] = []  # time and box of the last detection in each span

    def add(self, frame: Frame, region: Region, masked: bool) -> None:
        """Add a detection; masked: whether it lies in a mask."""
        end = frame.time + float(frame.duration * frame.time_base)
        for number in reversed(range(len(self.spans))):
            span, (time, last) = self.spans[number], self._last[number]
            same = (span.stream, span.label, span.masked) == (frame.stream, region.label, masked)
            if same and time < frame.time <= time + self._gap and _near(last, region):
                span.end, span.frames = end, span.frames + 1
                if (region.score or 0) > (span.score or 0):
                    span.score, span.sides = region.score, region.sides
                self._last[number] = frame.time, region
                return
        self.spans.append(
            LeftVisible(frame.stream, region.label, frame.time, end, 1, region.score, region.sides, masked)
        )
        self._last.append((frame.time, region))


def report_verification(report: Report, console: Console) -> ExitCode:
    """List what the verification of an output has found, and return the exit code."""
    verification = report.verification
    if verification is None or verification.passed:
        return ExitCode.OK
    where = "which is written already" if report.target == "-" else f"which is kept as {report.target}"
    for span in verification.found[:MAX_LISTED]:
        console.error(f"{report.source}: {_line(span, is_timed=report.duration is not None)}")
    if (more := len(verification.found) - MAX_LISTED) > 0:
        console.error(f"{report.source}: and {more} more; --json lists all")
    if verification.failed:
        console.error(f"{report.source}: the output, {where}, could not be verified: {verification.failed}")
    else:
        console.error(f"{report.source}: something is left visible in the output, {where}")
    return ExitCode.SOME_FAILED


def _line(span: LeftVisible, is_timed: bool) -> str:
    """Describe a span in one line, with a place that --only and --keep take."""
    start, end = format_clock(span.start), format_clock(span.end)
    when = "" if not is_timed else f"{start}: " if start == end else f"{start} to {end}: "
    score = "" if span.score is None else f", score {span.score:.2f}"
    place = ",".join(f"{min(max(side, 0.0), 1.0):.3f}" for side in span.sides)
    hidden = "too weakly masked" if span.masked else "left visible"
    return f"{when}{span.label} {hidden}{score}, at {place}"


def _near(one: Region, other: Region) -> bool:
    """Return whether two boxes, each twice as large, overlap."""
    boxes = np.array([one.sides, other.sides])
    width, height = size(boxes).T / 2
    large = grow(boxes, width, height)
    return bool(iou(large[:1], large[1:])[0, 0] > 0)
