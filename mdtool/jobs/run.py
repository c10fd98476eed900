"""What the jobs that change pictures share: who paints, who says what is to be seen, and what is told of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mdtool.findings import FindingsFile, Moment, RecordedFindings, Verdict
from mdtool.jobs.report import Report
from mdtool.media.canvas import Canvas
from mdtool.media.encoding import Encoding
from mdtool.stream.judge import Question
from mdtool.stream.sight import See
from mdtool.stream.stages import Stopwatch


class Treatment(Protocol):
    """What a recipe makes of a picture, in place, once it is known what it shows."""

    def paint(self, canvas: Canvas, moment: Moment, verdict: Verdict) -> None: ...


@dataclass(frozen=True)
class Form:
    """How results are written. muxer None: what the output's name says, Matroska on stdout."""

    encoding: Encoding = Encoding()
    muxer: str | None = None
    keep_metadata: bool = False


@dataclass(frozen=True)
class Inquiry:
    """How it is found out what pictures show: what is asked, and who answers."""

    question: Question
    see: See
    model: str


@dataclass
class Run:
    """What one input is worked on with. known: an inquiry, or findings that were recorded before.

    findings: where those of this run go. progress: told now and then, with how many frames there are if that is known.
    unjudged: what becomes of frames that could not be judged.
    """

    known: Inquiry | RecordedFindings
    treatment: Treatment
    form: Form = Form()
    findings: FindingsFile | None = None
    progress: Callable[[Report, int | None], None] = lambda report, frames: None
    clock: Stopwatch = field(default_factory=Stopwatch)
    unjudged: str = "hidden whole"

    @property
    def model(self) -> str:
        return self.known.model if isinstance(self.known, Inquiry) else "findings"

    def note(self, report: Report, moment: Moment, verdict: Verdict) -> None:
        """Counts and records what is known of one frame."""
        report.count(moment, verdict)
        if self.findings:
            self.findings.write(moment, verdict)
