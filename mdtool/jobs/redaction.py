"""What is hidden in an input, and how: what the jobs for videos, photos and animations share."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from engine.contract import Model
from mdtool.findings import FindingsFile, RecordedFindings, Verdict
from mdtool.jobs.report import Report
from mdtool.media.encoding import Encoding
from mdtool.media.orientation import UPRIGHT, Orientation
from mdtool.stream.judge import Question
from mdtool.stream.stages import Stopwatch
from recipes.redact import Area, Style, blank, redact
from recipes.regions import Region, Size, chosen


@dataclass(frozen=True)
class Redaction:
    """colour: (red, green, blue), 0..255; muxer None: what the output's name says, Matroska on stdout."""

    question: Question
    style: Style = Style()
    colour: tuple[int, int, int] = (0, 0, 0)
    keep: tuple[Region, ...] = ()
    only: tuple[Region, ...] = ()
    min_size: Size | None = None
    keep_metadata: bool = False
    encoding: Encoding = Encoding()
    muxer: str | None = None

    def hide(
        self,
        planes: list[np.ndarray],
        fill: list[int],
        verdict: Verdict,
        shown_size: tuple[int, int],
        orientation: Orientation = UPRIGHT,
    ) -> None:
        """Paints on the planes of a stored picture that is displayed in shown_size (width, height), in pixels."""
        if verdict.hidden:
            blank(planes, fill)
            return
        keep = [region.in_fractions(*shown_size) for region in self.keep]
        only = [region.in_fractions(*shown_size) for region in self.only]
        hidden = chosen(verdict.regions, *shown_size, keep, only, self.min_size)
        areas = [Area(*orientation.to_stored((r.x_min, r.y_min, r.x_max, r.y_max))) for r in hidden]
        x, y = self.style.margins
        style = replace(self.style, margin=(y, x)) if orientation.swaps_sides else self.style
        redact(planes, areas, style, fill)


@dataclass
class Run:
    """What one input is worked on with: a model, or findings that were recorded before; one of them is None.

    findings: where those of this run go. progress: told now and then, with how many frames there are if that is known.
    """

    redaction: Redaction
    model: Model | None = None
    recorded: RecordedFindings | None = None
    findings: FindingsFile | None = None
    progress: Callable[[Report, int | None], None] = lambda report, frames: None
    clock: Stopwatch = field(default_factory=Stopwatch)

    def note(self, report: Report, stream: int, frame: int, time: float, verdict: Verdict) -> None:
        """Counts and records what is known of one frame."""
        report.frames += 1
        report.looks += verdict.looked
        report.hidden += verdict.hidden
        report.tracks |= {(stream, region.track) for region in verdict.regions}
        if self.findings:
            self.findings.write(stream, frame, time, verdict)
