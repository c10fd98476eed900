"""Follows where people look in every input there is: first all of it is looked at, then it is drawn and summed up."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mdtool.console import Console
from mdtool.ending import check_not_ending
from mdtool.errors import Exit, InputError, OutputError, UsageError
from mdtool.findings import FindingsFile, Lines, RecordedFindings
from mdtool.jobs.asking.marked import save_picture
from mdtool.jobs.batch import each_input, finished
from mdtool.jobs.gaze.account import Account, GazeDrawing
from mdtool.jobs.gaze.lines import GazeLines
from mdtool.jobs.gaze.summary import GazeReport
from mdtool.jobs.rework.analyse import analyse
from mdtool.jobs.rework.dispatch import check_target, rework
from mdtool.jobs.rework.report import Report
from mdtool.jobs.rework.run import Form, Inquiry, Run
from mdtool.jobs.targets import Targets
from mdtool.media.inputs import Input
from mdtool.media.opening import spooled
from mdtool.media.stills import picture_at
from mdtool.stream.between_looks import between_looks


@dataclass(frozen=True)
class HeatMaps:
    """Where they go: to `output`, or for many inputs below it, each under the name of its input."""

    output: str
    many: bool
    overwrite: bool

    def of(self, source: Input) -> Path:
        """UsageError or OutputError if there can be none."""
        target = Path(self.output)
        if self.many or target.is_dir():
            target = target / source.relative.with_name(f"{source.relative.name}.png")
        elif target.suffix.lower() != ".png":
            raise UsageError(f"--heat {target}: end the name in .png, or name a folder that is there")
        if os.path.lexists(target) and not self.overwrite:
            raise OutputError(f"{target}: exists already; --overwrite replaces it")
        if source.path and target.exists() and target.samefile(source.path):
            raise UsageError(f"--heat {target}: would replace its own input; give another name")
        return target

    def save(self, source: Input, account: Account) -> None:
        heat, place = account.heat, account.middle
        if heat and place:
            save_picture(heat.over(picture_at(source, *place)), self.of(source), self.overwrite)


@dataclass(frozen=True)
class Gazing:
    """All that the inputs of one command have in common.

    known: an inquiry, or a file of findings. prompts: what is looked for. targets: None where nothing is drawn.
    findings, lines: where the raw findings and the smoothed gazes go.
    """

    known: Inquiry | Path
    prompts: Sequence[str]
    form: Form
    targets: Targets | None
    many: bool
    heat: HeatMaps | None
    console: Console
    findings: Lines | None = None
    lines: Lines | None = None

    def run(self, sources: Sequence[Input]) -> Exit:
        return each_input(sources, self._gaze, self.console)

    def _gaze(self, source: Input) -> Exit:
        target = self.targets.file_of(source) if self.targets else None
        if self.targets and target is not None and not self.targets.take(source, target, self.console):
            return Exit.OK
        if self.heat:
            self.heat.of(source)
        with ExitStack() as stack:
            if isinstance(self.known, Path):
                return finished(
                    self._show(spooled(source, stack) if self.heat else source, target, self.known), self.console
                )
            source = spooled(source, stack)
            if self.targets and target is not None:
                check_target(source, target, self.targets.overwrite, self.form)
            # without a name, so that nothing is left of it however the program ends
            spool = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace"))
            findings = FindingsFile(_Both(spool, self.findings), source.name, self.known.model, self.prompts)
            looked = analyse(source, self.known, findings, self._progress)
            self.console.clear()
            told = self._show(source, target, spool)
        _add(told, looked)
        return finished(told, self.console)

    def _show(self, source: Input, target: Path | None, findings: Path | TextIO) -> GazeReport:
        """Draws and sums up what the findings say. target None: stdout, if anything is drawn."""
        by_name = isinstance(findings, Path) and not self.many
        known = RecordedFindings(findings, source.name, by_name, between_looks)
        account = Account(GazeLines(self.lines, source.name) if self.lines else None)
        if self.targets:
            run = Run(known, GazeDrawing(account), self.form, progress=self._progress, covers_unjudged=False)
            report = rework(source, target, self.targets.overwrite, run)
        else:
            report = self._read(source, known, account)
        account.finish()
        if self.heat:
            self.heat.save(source, account)
        return GazeReport(**vars(report), attention=account.as_dict())

    def _read(self, source: Input, known: RecordedFindings, account: Account) -> Report:
        """Nothing is drawn, so that the input itself is not needed."""
        report = Report(source.name, "", "findings")
        for record in known:
            report.count(record.moment, record.verdict)
            account.people(record.moment, record.verdict)
            report.duration = max(report.duration or 0.0, record.moment.time + record.moment.duration) or None
            self._progress(report, None)
        if not report.frames:
            raise InputError("the findings say nothing of it")
        return report

    def _progress(self, report: Report, frames: int | None) -> None:
        check_not_ending()
        self.console.progress(report, frames)


@dataclass(frozen=True)
class _Both:
    """Lines that are kept for a while, and perhaps for good."""

    one: Lines
    other: Lines | None

    def write(self, text: str) -> None:
        self.one.write(text)
        if self.other:
            self.other.write(text)


def _add(report: Report, looked: Report) -> None:
    """To what was made of the findings, how they were found."""
    report.model = looked.model
    report.seconds += looked.seconds
    names = [*looked.stages, *report.stages]
    report.stages = {name: looked.stages.get(name, 0.0) + report.stages.get(name, 0.0) for name in names}
    report.notes = [*looked.notes, *report.notes]
    report.incomplete = report.incomplete or looked.incomplete
