"""Redacts every input there is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mdtool.console import Console
from mdtool.ending import check_not_ending
from mdtool.errors import Exit
from mdtool.findings import FindingsFile, Lines, RecordedFindings, spooled
from mdtool.jobs.batch import each_input
from mdtool.jobs.redaction import Redaction
from mdtool.jobs.report import Report
from mdtool.jobs.rework import rework
from mdtool.jobs.run import Form, Inquiry, Run
from mdtool.jobs.targets import Targets
from mdtool.media.inputs import Input


@dataclass(frozen=True)
class Redacting:
    """All that the inputs of one command have in common. known: an inquiry, or a file of findings."""

    redaction: Redaction
    known: Inquiry | Path
    prompts: Sequence[str]
    form: Form
    targets: Targets
    console: Console
    findings: Lines | None = None

    def run(self, sources: Sequence[Input]) -> Exit:
        return each_input(sources, self._redact, self.console)

    def _redact(self, source: Input) -> Exit:
        target = self.targets.of(source)
        if target is not None and not self.targets.take(source, target, self.console):
            return Exit.OK
        known = recorded(self.known, source, self.targets) if isinstance(self.known, Path) else self.known
        run = Run(known, self.redaction, self.form, progress=self._progress)
        if self.findings:
            run.findings = FindingsFile(self.findings, source.name, run.model, self.prompts)
        return finished(rework(source, target, self.targets.overwrite, run), self.console)

    def _progress(self, report: Report, frames: int | None) -> None:
        check_not_ending()
        self.console.progress(report, frames)


@contextmanager
def rereadable(findings: Path | None, sources: Sequence[Input]) -> Iterator[Path | None]:
    """Findings that can be read for each of the sources; what is piped in for a single one is taken as it comes."""
    if findings is None or len(sources) == 1:
        yield findings
    else:
        with spooled(findings) as copy:
            yield copy


def recorded(findings: Path, source: Input, targets: Targets) -> RecordedFindings:
    return RecordedFindings(findings, source.name, by_name=not targets.many)


def finished(report: Report, console: Console) -> Exit:
    """Tells what was done."""
    console.done(report)
    if report.incomplete:
        console.error(f"{report.source}: is damaged: {report.incomplete}; the output holds what could be read")
        return Exit.SOME_FAILED
    return Exit.OK
