"""What the server does to a picture or video in a file: redact it, redact it again from its findings, judge it."""

import io
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.generation.verbs import VisionModel
from mdtool.errors import UsageError
from mdtool.jobs.moderate.evaluate_policy import PolicyEvaluator
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.canvas import Canvas
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.pipeline.analyse import analyse
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.findings_file import RecordedFindings, records
from mdtool.pipeline.process_input import process_input
from mdtool.pipeline.run import Effect, LiveSettings, ModelInference, Run
from mdtool.pipeline.track_selection import Track, TrackSelection
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo
from mdtool.records.run_report import Report
from mdtool.tracking.detector import Detector, ImageFindings, detector_with_questions, object_detector
from mdtool.tracking.turned_views import view_for
from recipes.policy import Policy
from recipes.redact import Name, Style

FRAME_SECONDS = 1.0  # between two frames that are shown
FRAME_SIDE = 640  # pixels of their longer side
FRAME_QUALITY = 80  # of JPEG

Progress = Callable[[Report, int | None], None]  # the report so far, and the number of frames if it is known


def no_progress(report: Report, frames: int | None) -> None:
    """Tell nobody."""


@dataclass
class FrameShow:
    """Shows frames to a person: the first one, then one in FRAME_SECONDS.

    Attributes:
        show: Receives a frame as JPEG.
    """

    show: Callable[[bytes], None]
    _shown: float = field(default=-math.inf, init=False)

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._shown >= FRAME_SECONDS

    def __call__(self, pixels: np.ndarray) -> None:
        """Show a frame, (height, width, 3) uint8 RGB."""
        self.show(_small_jpeg(pixels))
        self._shown = time.monotonic()


@dataclass(frozen=True)
class ShownEffect:
    """An effect whose painted frames are shown to a person now and then.

    Attributes:
        effect: Paints.
        frames: Shows what it has painted.
    """

    effect: Effect
    frames: FrameShow

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        """Paint a frame in place; see `Effect`."""
        self.effect.paint(canvas, info, findings)
        if self.frames.due:
            canvas.draw(self.frames)


def _small_jpeg(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((FRAME_SIDE, FRAME_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=FRAME_QUALITY)
    return buffer.getvalue()


@dataclass(frozen=True)
class Detection:
    """What is detected, and by which model.

    Attributes:
        model: Detects.
        prompts: Names of the objects.
        threshold: Least score, 0..1; None: the model's own.
    """

    model: VisionModel
    prompts: tuple[str, ...]
    threshold: float | None = None

    @property
    def inference(self) -> ModelInference:
        """The same as the pipeline takes it."""
        request = AnalysisRequest(self.prompts, self.threshold, view=view_for(self.model.name))
        return ModelInference(request, object_detector(self.model, self.prompts, self.threshold), self.model.name)


def as_input(path: Path) -> Input:
    """Return a file as an input of the pipeline."""
    return Input(path, Path(path.name))


def redact_file(
    source: Path,
    target: Path,
    findings: Path,
    *,
    detection: Detection,
    effect: Effect,
    progress: Progress = no_progress,
) -> Report:
    """Redact a picture or video, and record the findings.

    Args:
        source: The file.
        target: The redacted file, which must not exist; it appears when it is complete.
        findings: The file of findings, which must not exist.
        detection: What is detected.
        effect: Masks it.
        progress: Called after every frame; an exception that it raises ends the work.

    Raises:
        InputError, OutputError, EngineError: As `process_input` raises.
    """
    run, entry = Run(detection.inference, effect, progress=progress), as_input(source)
    with findings.open("x", encoding="utf-8") as file:
        run.findings = FindingsWriter(file, entry.name, run.model, detection.prompts, sha256=content_digest(entry))
        return process_input(entry, target, run, overwrite=False)


def redact_again(
    source: Path,
    target: Path,
    findings: Path,
    *,
    without: Sequence[Track] = (),
    effect: Effect,
    progress: Progress = no_progress,
) -> Report:
    """Redact a file from its findings, without a model; see `redact_file`.

    Args:
        source: The file.
        target: The redacted file, which must not exist.
        findings: The recorded findings.
        without: Tracks that stay visible.
        effect: Masks the others.
        progress: As for `redact_file`.

    Raises:
        UsageError: A track is not in the findings.
        InputError, OutputError: As `process_input` raises.
    """
    selection, entry = TrackSelection(drop=tuple(without)), as_input(source)
    selection.check(findings, [entry.name], by_name=True)
    recorded = RecordedFindings(findings, entry.name, by_name=True, transform=selection.apply)
    return process_input(entry, target, Run(recorded, effect, progress=progress), overwrite=False)


def judge_file(
    source: Path,
    *,
    model: VisionModel,
    policy: Policy,
    progress: Progress = no_progress,
    show: Callable[[bytes], None] | None = None,
) -> dict[str, Any]:
    """Judge a picture or video by a policy; return the verdict as `moderate --json` has it, without the run.

    Args:
        source: The file.
        model: Detects, and answers.
        policy: What is not allowed.
        progress: As for `redact_file`.
        show: Receives frames that the model sees; see `FrameShow`.

    Raises:
        InputError, EngineError: As `analyse` raises.
    """
    detect = detector_with_questions(model, policy.prompts, policy.questions)
    request = AnalysisRequest(tuple(policy.prompts), view=view_for(model.name))
    evaluator, entry = PolicyEvaluator(policy), as_input(source)
    inference = ModelInference(request, _shown(detect, FrameShow(show)) if show else detect, model.name)
    report = analyse(entry, inference, evaluator.add, progress, live=LiveSettings())
    verdict = evaluator.result().verdict.as_dict()
    return {**verdict, "model": model.name, "incomplete": report.incomplete}


def _shown(detect: Detector, frames: FrameShow) -> Detector:
    def detect_and_show(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        found = detect(images)
        if frames.due:
            frames(images[-1])
        return found

    return detect_and_show


def first_that_serves(
    models: Iterable[VisionModel], prompts: Sequence[str], questions: Sequence[str] = ()
) -> VisionModel:
    """Return the first model that detects all prompts and answers all questions.

    Raises:
        UsageError: There is none.
    """
    for model in models:
        detects = all(model.abilities.supports("detect", prompt) for prompt in prompts)
        if detects and all(model.abilities.supports("query", question) for question in questions):
            return model
    what = ", ".join([*prompts, *questions])
    raise UsageError(f"no model that is served here finds {what}: serve one that detects anything, such as moondream2")


def redaction(style: Name) -> Redaction:
    """Return the effect of a style by its name."""
    return Redaction(Style(name=style))


def tracks_in(findings: Path) -> list[dict[str, Any]]:
    """Return the tracks of a file of findings: what a person chooses among.

    Returns:
        Per track its number, its stream, its label, and the seconds of its first and last frame.
    """
    tracks: dict[tuple[int, int], dict[str, Any]] = {}
    for record in records(findings):
        for region in record.findings.regions:
            track = tracks.setdefault(
                (record.info.stream, region.track),
                {
                    "track": region.track,
                    "stream": record.info.stream,
                    "label": region.label,
                    "first_seconds": record.info.time,
                },
            )
            track["last_seconds"] = record.info.time
    return list(tracks.values())
