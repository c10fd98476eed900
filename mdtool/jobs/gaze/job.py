"""Follows where people look in every input there is: first all of it is looked at, then it is drawn and summed up."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from mdtool.console import Console
from mdtool.errors import Exit, InputError, OutputError, UsageError
from mdtool.jobs.each_input import each_input, finished, progress_on
from mdtool.jobs.gaze.account import Account, GazeDrawing
from mdtool.jobs.gaze.lines import GazeLines
from mdtool.jobs.gaze.summary import GazeReport
from mdtool.media.image.save_picture import save_picture
from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live, spooled
from mdtool.media.video.frame_grabber import picture_at
from mdtool.pipeline.analyse import analyse
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.process_input import check_target, rework
from mdtool.pipeline.resume import resumable, seconds_of_file
from mdtool.pipeline.run import Form, Inquiry, Live, Run
from mdtool.pipeline.targets import Target, Targets
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import Both, FindingsWriter, FrameFindings, FrameInfo, Lines
from mdtool.records.run_report import Report
from mdtool.tracking.interpolation import between_keyframes
from mdtool.tracking.since_keyframe import SinceKeyframe


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
    findings, lines: where the raw findings and the smoothed gazes go. beside: a file that comes of it even where
    nothing is drawn.
    """

    known: Inquiry | Path
    prompts: Sequence[str]
    form: Form
    targets: Targets | None
    many: bool
    heat: HeatMaps | None
    console: Console
    live: Live = Live()
    findings: Lines | None = None
    lines: Lines | None = None
    beside: Path | None = None

    def run(self, sources: Sequence[Input]) -> Exit:
        return each_input(sources, self._gaze, self.console)

    def _gaze(self, source: Input) -> Exit:
        live = is_live(source)
        target = (self.targets.of(source) if live else self.targets.file_of(source)) if self.targets else None
        if self.targets and target is not None and not self.targets.take(source, target, self.console):
            return Exit.OK
        if self.heat:
            self.heat.of(source)
        if live:
            return finished(self._follow(source, target), self.console)
        assert not isinstance(target, Address)
        settings, lasts = {"form": self.form, "writes": self.targets is not None}, seconds_of_file(source)
        with resumable(source, target, self.known, settings, lasts=lasts, console=self.console, beside=self.beside) as (
            known,
            work,
        ):
            report = self._look_and_show(source, target, known, work)
        return finished(report, self.console)

    def _follow(self, source: Input, target: Target) -> GazeReport:
        """What plays live, in one go."""
        if isinstance(self.known, Path):
            raise UsageError("--from-findings: what plays live was not there before; leave it out")
        if self.heat:
            raise UsageError("--heat: goes over a picture of the input, which plays live; make it of a recording")
        account, since = self._account(source), SinceKeyframe()
        findings = FindingsWriter(self.findings, source.name, self.known.model, self.prompts) if self.findings else None

        def noted(moment: FrameInfo, verdict: FrameFindings) -> None:
            if findings:
                findings.write(moment, verdict)
            account.take(moment, since.refined(moment, verdict))

        if self.targets:
            run = self._run(self.known, account)
            run.noted = noted
            report = rework(source, target, run, overwrite=self.targets.overwrite)
        else:
            report = analyse(source, self.known, noted, progress_on(self.console), live=self.live)
        account.finish()
        return GazeReport(**vars(report), attention=account.as_dict())

    def _look_and_show(
        self, source: Input, target: Path | None, known: Inquiry | Path, work: WorkFolder | None
    ) -> Report:
        with ExitStack() as stack:
            if isinstance(known, Path):
                return self._show(spooled(source, stack) if self.heat else source, target, known, work)
            source = spooled(source, stack)
            if self.targets and target is not None:
                check_target(source, target, self.form, overwrite=self.targets.overwrite)
            # without a name, so that nothing is left of it however the program ends
            spool = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace"))
            sha256 = content_digest(source) if self.findings else ""
            findings = FindingsWriter(Both(spool, self.findings), source.name, known.model, self.prompts, sha256=sha256)
            looked = analyse(source, known, findings.write, progress_on(self.console), live=self.live)
            self.console.clear()
            told = self._show(source, target, spool, work)
        _add(told, looked)
        return told

    def _show(
        self, source: Input, target: Path | None, findings: Path | TextIO, work: WorkFolder | None = None
    ) -> GazeReport:
        """Draws and sums up what the findings say. target None: stdout, if anything is drawn."""
        by_name = isinstance(findings, Path) and not self.many
        digest = partial(content_digest, source)
        known = RecordedFindings(findings, source.name, by_name, digest=digest, refined=between_keyframes)
        account = self._account(source)
        if self.targets:
            run = self._run(known, account)
            run.work, run.noted = work, account.take
            report = rework(source, target, run, overwrite=self.targets.overwrite)
        else:
            report = self._read(source, known, account)
        account.finish()
        if self.heat:
            self.heat.save(source, account)
        return GazeReport(**vars(report), attention=account.as_dict())

    def _account(self, source: Input) -> Account:
        return Account(GazeLines(self.lines, source.name) if self.lines else None)

    def _run(self, known: Inquiry | RecordedFindings, account: Account) -> Run:
        progress = progress_on(self.console)
        return Run(known, GazeDrawing(account), self.form, self.live, covers_unjudged=False, progress=progress)

    def _read(self, source: Input, known: RecordedFindings, account: Account) -> Report:
        """Nothing is drawn, so that the input itself is not needed."""
        report, progress = Report(source.name, "", "findings"), progress_on(self.console)
        for record in known:
            report.count(record.moment, record.verdict)
            account.take(record.moment, record.verdict)
            report.reach(record.moment)
            progress(report, None)
        if not report.frames:
            raise InputError("the findings say nothing of it")
        return report


def _add(report: Report, looked: Report) -> None:
    """To what was made of the findings, how they were found."""
    report.model = looked.model
    report.seconds += looked.seconds
    names = [*looked.stages, *report.stages]
    report.stages = {name: looked.stages.get(name, 0.0) + report.stages.get(name, 0.0) for name in names}
    report.notes = [*looked.notes, *report.notes]
    report.incomplete = report.incomplete or looked.incomplete
