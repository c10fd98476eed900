"""Settings and callbacks of one run of the pipeline: model inference, effect, output, progress."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mdtool.media.canvas import Canvas
from mdtool.media.video.edits import UNEDITED, Edit
from mdtool.media.video.encoding import Encoding
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.stages import Stopwatch
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo
from mdtool.records.run_report import Report
from mdtool.tracking.detector import Detector


class Effect(Protocol):
    """What is painted on a frame because of its findings, such as a blur."""

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        """Change the pixels of the canvas in place."""


@dataclass(frozen=True)
class OutputOptions:
    """How results are written.

    Attributes:
        encoding: Codec, quality and preset.
        muxer: Container format by FFmpeg's name; None for that of the file name, Matroska on stdout.
        keep_metadata: Copy identifying metadata, such as places and dates.
    """

    encoding: Encoding = Encoding()
    muxer: str | None = None
    keep_metadata: bool = False


@dataclass(frozen=True)
class ModelInference:
    """A model, and what to detect with it.

    Attributes:
        request: What to detect, and on which frames.
        detect: Runs the model on a batch of images.
        model: Name of the model.
        options: Other settings that affect the findings, as fields of a RESUME fingerprint.
    """

    request: AnalysisRequest
    detect: Detector
    model: str
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, object]:
        """All settings that affect the findings, as fields of a RESUME fingerprint."""
        return {"question": self.request, "model": self.model, **self.options}


@dataclass(frozen=True)
class LiveSettings:
    """How a live source is processed.

    Attributes:
        delay: Most seconds from a frame's arrival to its release.
        duration: Seconds after which to stop; None for no limit.
        segment: Seconds after which to begin another file; None for a single file.
    """

    delay: float = 1.0
    duration: float | None = None
    segment: float | None = None


@dataclass
class Run:
    """What to do with one input.

    Attributes:
        findings_source: Where findings come from: a model, or a file of recorded findings.
        effect: What is painted on every frame.
        output_options: How results are written.
        live: How a live source is processed.
        work: Work folder for resuming; None for no resuming.
        edit: Spans that are cut out or muted; not for live sources.
        is_silent: For live sources, returns whether to mute from the last frame noted to the next.
        masks_unjudged: Whether the effect masks frames that could not be analysed.
        findings: Where to write the findings of this run.
        on_frame: Called with the findings of every frame, before it is painted.
        verify: Called with a complete output before it gets its name, and with its report. If it returns False, the
            output gets another name; see `unverified`.
        progress: Called after every frame with the report so far and the number of frames, None if unknown.
        clock: Adds up the seconds of each stage.
    """

    findings_source: ModelInference | RecordedFindings
    effect: Effect
    output_options: OutputOptions = OutputOptions()
    live: LiveSettings = LiveSettings()
    work: WorkFolder | None = None
    edit: Edit = UNEDITED
    is_silent: Callable[[], bool] | None = None
    masks_unjudged: bool = True
    findings: FindingsWriter | None = None
    on_frame: Callable[[FrameInfo, FrameFindings], None] = lambda info, findings: None
    verify: Callable[[Path, Report], bool] | None = None
    progress: Callable[[Report, int | None], None] = lambda report, frames: None
    clock: Stopwatch = field(default_factory=Stopwatch)

    @property
    def model(self) -> str:
        """Name of the model; "findings" for recorded ones."""
        return self.findings_source.model if isinstance(self.findings_source, ModelInference) else "findings"

    def note(self, report: Report, info: FrameInfo, findings: FrameFindings) -> None:
        """Count and write the findings of one frame."""
        report.count(info, findings)
        if self.findings:
            self.findings.write(info, findings)
        self.on_frame(info, findings)
