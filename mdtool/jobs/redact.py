"""Redacts every input there is."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mdtool import __version__
from mdtool.console import Console
from mdtool.ending import check_not_ending
from mdtool.errors import Exit
from mdtool.findings import FindingsFile, Lines, RecordedFindings, spooled
from mdtool.jobs.batch import each_input
from mdtool.jobs.journal import settings_of
from mdtool.jobs.redaction import Redaction
from mdtool.jobs.report import Report
from mdtool.jobs.rework import rework
from mdtool.jobs.run import Form, Inquiry, Live, Run
from mdtool.jobs.targets import Target, Targets
from mdtool.jobs.work import Work, is_long
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
        with ExitStack() as stack:
            if work := worth_keeping(source, target, self.redaction, self.form, self.known):
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


def worth_keeping(source: Input, target: Target, *settings: object) -> Work | None:
    """Where the work on a long video is kept. settings: all that has a say in the result, beside the source."""
    if source.path is None or not isinstance(target, Path) or not is_long(source.path):
        return None
    told = [setting.told if isinstance(setting, Inquiry) else setting for setting in settings]
    return Work(target, settings_of(__version__, source.path, *told))


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
