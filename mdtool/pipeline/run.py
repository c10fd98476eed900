"""What the jobs that change pictures share: who paints, who says what is to be seen, and what is told of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """What a recipe makes of a picture, in place, once it is known what it shows."""

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None: ...


@dataclass(frozen=True)
class OutputOptions:
    """How results are written. muxer None: what the output's name says, Matroska on stdout."""

    encoding: Encoding = Encoding()
    muxer: str | None = None
    keep_metadata: bool = False


@dataclass(frozen=True)
class ModelInference:
    """How it is found out what pictures show: what is asked, and who answers.

    options: what else has a say in what is found, by the names of a RESUME fingerprint.
    """

    request: AnalysisRequest
    detect: Detector
    model: str
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, object]:
        """All that has a say in what is found, for the fingerprint."""
        return {"question": self.request, "model": self.model, **self.options}


@dataclass(frozen=True)
class LiveSettings:
    """How a source that plays now is worked on. delay: seconds for which a frame may wait until it is known what it
    shows. duration: seconds after which it ends; segment: after which another file is begun."""

    delay: float = 1.0
    duration: float | None = None
    segment: float | None = None


@dataclass
class Run:
    """What one input is worked on with. known: an inquiry, or findings that were recorded before.

    edit: what is left out of it, and where it is silent; of what plays live nothing is left out, and `is_silent` tells
    whether it is from the frame noted last to the next. masks_unjudged: the treatment covers frames that could not be
    judged. work: where what is done is kept until all is.
    findings: where those of this run go. noted: told of every frame, before it is painted or found done already.
    progress: told now and then, with how many frames there are if that is known.
    """

    known: ModelInference | RecordedFindings
    effect: Effect
    output_options: OutputOptions = OutputOptions()
    live: LiveSettings = LiveSettings()
    work: WorkFolder | None = None
    edit: Edit = UNEDITED
    is_silent: Callable[[], bool] | None = None
    masks_unjudged: bool = True
    findings: FindingsWriter | None = None
    on_frame: Callable[[FrameInfo, FrameFindings], None] = lambda info, findings: None
    progress: Callable[[Report, int | None], None] = lambda report, frames: None
    clock: Stopwatch = field(default_factory=Stopwatch)

    @property
    def model(self) -> str:
        return self.known.model if isinstance(self.known, ModelInference) else "findings"

    def note(self, report: Report, info: FrameInfo, findings: FrameFindings) -> None:
        """Counts and records what is known of one frame."""
        report.count(info, findings)
        if self.findings:
            self.findings.write(info, findings)
        self.on_frame(info, findings)
