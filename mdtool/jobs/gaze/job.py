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
from mdtool.jobs.each_input import each_input, progress_reporter, report_result
from mdtool.jobs.gaze.aggregator import GazeAggregator, GazeEffect
from mdtool.jobs.gaze.gaze_writer import GazeWriter
from mdtool.jobs.gaze.summary import GazeReport
from mdtool.media.image.save_image import save_image
from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live, spooled
from mdtool.media.video.frame_grabber import grab_frame
from mdtool.pipeline.analyse import analyse
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.process_input import check_target, process_input
from mdtool.pipeline.resume import resumable, seconds_of_file
from mdtool.pipeline.run import LiveSettings, ModelInference, OutputOptions, Run
from mdtool.pipeline.targets import Target, Targets
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo, Lines, Tee
from mdtool.records.run_report import Report
from mdtool.tracking.causal_sizes import CausalSizer
from mdtool.tracking.interpolation import interpolate_keyframes


@dataclass(frozen=True)
class HeatmapOutput:
    """Where they go: to `output`, or for many inputs below it, each under the name of its input."""

    output: str
    many: bool
    overwrite: bool

    def for_input(self, source: Input) -> Path:
        """UsageError or OutputError if there can be none."""
        target = Path(self.output)
        if self.many or target.is_dir():
            target = target / source.relative.with_name(f"{source.relative.name}.png")
        elif target.suffix.lower() != ".png":
            raise UsageError(f"--heatmap {target}: end the name in .png, or name a folder that is there")
        if os.path.lexists(target) and not self.overwrite:
            raise OutputError(f"{target}: exists already; --overwrite replaces it")
        if source.path and target.exists() and target.samefile(source.path):
            raise UsageError(f"--heatmap {target}: would replace its own input; give another name")
        return target

    def save(self, source: Input, aggregator: GazeAggregator) -> None:
        heat, place = aggregator.heat, aggregator.midpoint
        if heat and place:
            save_image(heat.blend_onto(grab_frame(source, *place)), self.for_input(source), self.overwrite)


@dataclass(frozen=True)
class GazeJob:
    """All that the inputs of one command have in common.

    known: an inquiry, or a file of findings. prompts: what is looked for. targets: None where nothing is drawn.
    findings, lines: where the raw findings and the smoothed gazes go. beside: a file that comes of it even where
    nothing is drawn.
    """

    known: ModelInference | Path
    prompts: Sequence[str]
    output_options: OutputOptions
    targets: Targets | None
    many: bool
    heat: HeatmapOutput | None
    console: Console
    live: LiveSettings = LiveSettings()
    findings: Lines | None = None
    lines: Lines | None = None
    side_output: Path | None = None

    def run(self, sources: Sequence[Input]) -> Exit:
        return each_input(sources, self._gaze, self.console)

    def _gaze(self, source: Input) -> Exit:
        live = is_live(source)
        target = (self.targets.for_input(source) if live else self.targets.file_for(source)) if self.targets else None
        if self.targets and target is not None and not self.targets.take(source, target, self.console):
            return Exit.OK
        if self.heat:
            self.heat.for_input(source)
        if live:
            return report_result(self._gaze_live(source, target), self.console)
        assert not isinstance(target, Address)
        settings, duration = {"form": self.output_options, "writes": self.targets is not None}, seconds_of_file(source)
        with resumable(
            source, target, self.known, settings, duration=duration, console=self.console, side_output=self.side_output
        ) as (
            known,
            work,
        ):
            report = self._analyse_and_show(source, target, known, work)
        return report_result(report, self.console)

    def _gaze_live(self, source: Input, target: Target) -> GazeReport:
        """What plays live, in one go."""
        if isinstance(self.known, Path):
            raise UsageError("--from-findings: what plays live was not there before; leave it out")
        if self.heat:
            raise UsageError("--heatmap: goes over a picture of the input, which plays live; make it of a recording")
        aggregator, since = self._new_aggregator(source), CausalSizer()
        findings = FindingsWriter(self.findings, source.name, self.known.model, self.prompts) if self.findings else None

        def on_frame(info: FrameInfo, frame_findings: FrameFindings) -> None:
            if findings:
                findings.write(info, frame_findings)
            aggregator.take(info, since.refine(info, frame_findings))

        if self.targets:
            run = self._run(self.known, aggregator)
            run.on_frame = on_frame
            report = process_input(source, target, run, overwrite=self.targets.overwrite)
        else:
            report = analyse(source, self.known, on_frame, progress_reporter(self.console), live=self.live)
        aggregator.finish()
        return GazeReport(**vars(report), attention=aggregator.as_dict())

    def _analyse_and_show(
        self, source: Input, target: Path | None, known: ModelInference | Path, work: WorkFolder | None
    ) -> Report:
        with ExitStack() as stack:
            if isinstance(known, Path):
                return self._show(spooled(source, stack) if self.heat else source, target, known, work)
            source = spooled(source, stack)
            if self.targets and target is not None:
                check_target(source, target, self.output_options, overwrite=self.targets.overwrite)
            # without a name, so that nothing is left of it however the program ends
            spool = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace"))
            sha256 = content_digest(source) if self.findings else ""
            findings = FindingsWriter(Tee(spool, self.findings), source.name, known.model, self.prompts, sha256=sha256)
            analysed = analyse(source, known, findings.write, progress_reporter(self.console), live=self.live)
            self.console.clear()
            told = self._show(source, target, spool, work)
        _add(told, analysed)
        return told

    def _show(
        self, source: Input, target: Path | None, findings: Path | TextIO, work: WorkFolder | None = None
    ) -> GazeReport:
        """Draws and sums up what the findings say. target None: stdout, if anything is drawn."""
        by_name = isinstance(findings, Path) and not self.many
        digest = partial(content_digest, source)
        known = RecordedFindings(findings, source.name, by_name, digest=digest, transform=interpolate_keyframes)
        aggregator = self._new_aggregator(source)
        if self.targets:
            run = self._run(known, aggregator)
            run.work, run.on_frame = work, aggregator.take
            report = process_input(source, target, run, overwrite=self.targets.overwrite)
        else:
            report = self._read(source, known, aggregator)
        aggregator.finish()
        if self.heat:
            self.heat.save(source, aggregator)
        return GazeReport(**vars(report), attention=aggregator.as_dict())

    def _new_aggregator(self, source: Input) -> GazeAggregator:
        return GazeAggregator(GazeWriter(self.lines, source.name) if self.lines else None)

    def _run(self, known: ModelInference | RecordedFindings, aggregator: GazeAggregator) -> Run:
        progress = progress_reporter(self.console)
        return Run(
            known, GazeEffect(aggregator), self.output_options, self.live, masks_unjudged=False, progress=progress
        )

    def _read(self, source: Input, known: RecordedFindings, aggregator: GazeAggregator) -> Report:
        """Nothing is drawn, so that the input itself is not needed."""
        report, progress = Report(source.name, "", "findings"), progress_reporter(self.console)
        for record in known:
            report.count(record.info, record.findings)
            aggregator.take(record.info, record.findings)
            report.reach(record.info)
            progress(report, None)
        if not report.frames:
            raise InputError("the findings say nothing of it")
        return report


def _add(report: Report, analysed: Report) -> None:
    """To what was made of the findings, how they were found."""
    report.model = analysed.model
    report.seconds += analysed.seconds
    names = [*analysed.stages, *report.stages]
    report.stages = {name: analysed.stages.get(name, 0.0) + report.stages.get(name, 0.0) for name in names}
    report.notes = [*analysed.notes, *report.notes]
    report.incomplete = report.incomplete or analysed.incomplete
