"""Redacts every input there is."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mdtool.console import Console
from mdtool.ending import check_not_ending
from mdtool.errors import Exit
from mdtool.findings import FindingsFile, Lines
from mdtool.jobs.batch import each_input, finished
from mdtool.jobs.recorded import recorded
from mdtool.jobs.redact.treatment import Redaction
from mdtool.jobs.rework.dispatch import rework
from mdtool.jobs.rework.report import Report
from mdtool.jobs.rework.run import Form, Inquiry, Live, Run
from mdtool.jobs.rework.work import worth_keeping
from mdtool.jobs.targets import Targets
from mdtool.media.inputs import Input


@dataclass(frozen=True)
class Redacting:
    """All that the inputs of one command have in common. known: an inquiry, or a file of findings."""

    redaction: Redaction
    known: Inquiry | Path
    prompts: Sequence[str]
    form: Form
    live: Live
    targets: Targets
    console: Console
    findings: Lines | None = None

    def run(self, sources: Sequence[Input]) -> Exit:
        return each_input(sources, self._redact, self.console)

    def _redact(self, source: Input) -> Exit:
        target = self.targets.of(source)
        if not self.targets.take(source, target, self.console):
            return Exit.OK
        known = recorded(self.known, source, self.targets) if isinstance(self.known, Path) else self.known
        run = Run(known, self.redaction, self.form, self.live, progress=self._progress)
        if self.findings:
            run.findings = FindingsFile(self.findings, source.name, run.model, self.prompts)
        told = self.known.told if isinstance(self.known, Inquiry) else self.known
        with ExitStack() as stack:
            if work := worth_keeping(source, target, self.redaction, self.form, told):
                run.work = stack.enter_context(work)
                if work.known:
                    self.console.note(f"{source.name}: goes on where a run before was ended")
                if isinstance(known, Inquiry):
                    run.known = replace(known, see=work.seeing(known.see))
            report = rework(source, target, self.targets.overwrite, run)
            if work:
                work.done()
        return finished(report, self.console)

    def _progress(self, report: Report, frames: int | None) -> None:
        check_not_ending()
        self.console.progress(report, frames)
