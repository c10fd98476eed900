"""Records what every input shows, and makes no pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdtool.console import Console
from mdtool.ending import check_not_ending
from mdtool.errors import Exit
from mdtool.findings import FindingsFile, Lines
from mdtool.jobs.each_input import each_input, finished
from mdtool.jobs.rework.analyse import analyse
from mdtool.jobs.rework.report import Report
from mdtool.jobs.rework.run import Inquiry, Live
from mdtool.media.inputs import Input


@dataclass(frozen=True)
class Recording:
    """All that the inputs of one command have in common."""

    inquiry: Inquiry
    file: Lines
    console: Console
    live: Live

    def run(self, sources: Sequence[Input]) -> Exit:
        return each_input(sources, self._record, self.console)

    def _record(self, source: Input) -> Exit:
        findings = FindingsFile(self.file, source.name, self.inquiry.model, self.inquiry.question.prompts)
        return finished(analyse(source, self.inquiry, findings.write, self._progress, self.live), self.console)

    def _progress(self, report: Report, frames: int | None) -> None:
        check_not_ending()
        self.console.progress(report, frames)
