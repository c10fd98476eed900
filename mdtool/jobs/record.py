"""Records what every input shows, and makes no pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdtool.console import Console
from mdtool.errors import Exit
from mdtool.findings import FindingsFile, Lines
from mdtool.jobs.batch import each_input, finished, progress_on
from mdtool.jobs.rework.analyse import analyse
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
        report = analyse(source, self.inquiry, findings.write, progress_on(self.console), self.live)
        return finished(report, self.console)
