"""The job of `mdtool gaze`: a first pass detects faces and gazes, a second one draws and aggregates them."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO, cast

from mdtool.console import Console
from mdtool.errors import ExitCode, InputError, OutputError, UsageError
from mdtool.jobs.each_input import each_input, progress_reporter, report_result
from mdtool.jobs.gaze.aggregator import GazeAggregator, GazeEffect
from mdtool.jobs.gaze.gaze_writer import GazeWriter
from mdtool.jobs.gaze.summary import GazeReport
from mdtool.jobs.recorded_findings import content_check
from mdtool.media.image.save_image import save_image
from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live, spooled
from mdtool.media.video.frame_grabber import grab_frame
from mdtool.media.video.part import Part
from mdtool.pipeline.analyse import analyse
from mdtool.pipeline.findings_file import ContentCheck, RecordedFindings
from mdtool.pipeline.process_input import check_target, process_input
from mdtool.pipeline.resume import resumable, seconds_of_file
from mdtool.pipeline.run import LiveSettings, ModelInference, OutputOptions, Run
from mdtool.pipeline.split import analyse_part
from mdtool.pipeline.targets import Target, Targets
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo, Lines, Tee
from mdtool.records.run_report import Report
from mdtool.tracking.causal_sizes import CausalSizer
from mdtool.tracking.interpolation import interpolate_keyframes


@dataclass(frozen=True)
class HeatmapOutput:
    """Where heatmaps are written.

    Attributes:
        output: A PNG file, or a folder, in which each is named after its input.
        many: There are several inputs, so that `output` is a folder.
        overwrite: Replace existing files.
    """

    output: str
    many: bool
    overwrite: bool

    def path_for(self, source: Input) -> Path:
        """Return the path of an input's heatmap.

        Raises:
            UsageError: It would replace the input, or is not a PNG file.
            OutputError: It exists already.
        """
        target = Path(self.output)
        if self.many or os.path.isdir(target):
            target = target / source.relative.with_name(f"{source.relative.name}.png")
        elif target.suffix.lower() != ".png":
            raise UsageError(f"--heatmap {target}: end the name in .png, or give an existing folder")
        if os.path.lexists(target) and not self.overwrite:
            raise OutputError(f"{target}: exists already; --overwrite replaces it")
        if source.path and os.path.exists(target) and target.samefile(source.path):
            raise UsageError(f"--heatmap {target}: would replace its input; give another name")
        return target

    def save(self, source: Input, aggregator: GazeAggregator) -> None:
        """Write the heatmap over a frame from the middle of the input."""
        heat, midpoint = aggregator.heat, aggregator.midpoint
        if heat and midpoint:
            image = heat.blend_onto(grab_frame(source, *midpoint))
            save_image(image, self.path_for(source), self.overwrite, [source])


@dataclass(frozen=True)
class GazeJob:
    """Settings that the inputs of one command share.

    Attributes:
        findings_source: The model inference, or a file of findings.
        prompts: What is detected.
        targets: Output videos and images; None: nothing is drawn.
        many: There are several inputs.
        heat: Output of heatmaps, if any.
        findings: Output of the findings as detected, if any.
        gazes: Output of the smoothed gazes, if any.
        side_output: A file that is written even if nothing is drawn, next to which work is saved for resuming.
        force_findings: Use findings of other content too.
        part: The part of the only input that is analysed; None for the whole, which is drawn too.
    """

    findings_source: ModelInference | Path
    prompts: Sequence[str]
    output_options: OutputOptions
    targets: Targets | None
    many: bool
    heat: HeatmapOutput | None
    console: Console
    live: LiveSettings = LiveSettings()
    findings: Lines | None = None
    gazes: Lines | None = None
    side_output: Path | None = None
    force_findings: bool = False
    part: Part | None = None

    def run(self, sources: Sequence[Input]) -> ExitCode:
        """Process the inputs, and return the exit code."""
        folder = self.targets.folder_of(sources) if self.targets else None
        return each_input(sources, self._gaze, self.console, folder or (self.side_output and self.side_output.parent))

    def _gaze(self, source: Input) -> ExitCode:
        live = is_live(source)
        target = (self.targets.for_input(source) if live else self.targets.file_for(source)) if self.targets else None
        instead = "only its records are written" if self._writes_records and not live else "skipped"
        if self.targets and target is not None and not self.targets.take(source, target, self.console, instead=instead):
            if not self._writes_records or self.targets.is_own_output(source):
                return ExitCode.OK
            if live:
                raise InputError(f"{target} already exists, and its records can't be made again: the source is live")
            return replace(self, targets=None, heat=None)._gaze(source)
        if self.heat:
            self.heat.path_for(source)
        if live:
            return report_result(self._gaze_live(source, target), self.console, hides=False)
        assert not isinstance(target, Address)
        resuming = resumable(
            source,
            target,
            self.findings_source,
            {"form": self.output_options, "writes": self.targets is not None},
            duration=seconds_of_file(source),
            console=self.console,
            side_output=self.side_output,
            part=self.part,
        )
        with resuming as (findings_source, work):
            if self.part and isinstance(findings_source, ModelInference):
                analyse_part(source, self.part, findings_source)
                return ExitCode.OK
            report = self._analyse_and_render(source, target, findings_source, work)
        return report_result(report, self.console, hides=False)

    @property
    def _writes_records(self) -> bool:
        """Whether an input is analysed even if its output exists already, as its records may have been lost."""
        return bool(self.findings or self.gazes)

    def _gaze_live(self, source: Input, target: Target) -> GazeReport:
        """Process a live source in a single pass."""
        inference = self.findings_source
        if isinstance(inference, Path):
            raise UsageError("--from-findings: can't be used with a live source; leave it out")
        if self.heat:
            raise UsageError("--heatmap: needs a frame of the input, and it is live; give a recording")
        aggregator, sizer = self._new_aggregator(source), CausalSizer()
        writer = FindingsWriter(self.findings, source.name, inference.model, self.prompts) if self.findings else None

        def on_frame(info: FrameInfo, findings: FrameFindings) -> None:
            if writer:
                writer.write(info, findings)
            aggregator.add(info, sizer.refine(info, findings))

        if self.targets:
            run = self._run(inference, aggregator)
            run.on_frame = on_frame
            report = process_input(source, target, run, overwrite=self.targets.overwrite)
        else:
            report = analyse(source, inference, on_frame, progress_reporter(self.console), live=self.live)
        aggregator.finish()
        return GazeReport(**vars(report), attention=aggregator.as_dict())

    def _analyse_and_render(
        self, source: Input, target: Path | None, findings_source: ModelInference | Path, work: WorkFolder | None
    ) -> Report:
        with ExitStack() as stack:
            if isinstance(findings_source, Path):
                return self._render(spooled(source, stack) if self.heat else source, target, findings_source, work)
            source = spooled(source, stack)
            if self.targets and target is not None:
                check_target(source, target, self.output_options, overwrite=self.targets.overwrite)
            # Unnamed, so that nothing is left of it however the program ends.
            spool = cast(
                TextIO,
                stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")),
            )
            writer = FindingsWriter(
                Tee(spool, self.findings),
                source.name,
                findings_source.model,
                self.prompts,
                sha256=content_digest(source) if self.findings else "",
            )
            analysis = analyse(source, findings_source, writer.write, progress_reporter(self.console), live=self.live)
            self.console.clear()
            report = self._render(source, target, spool, work)
        _add_analysis(report, analysis)
        return report

    def _render(
        self, source: Input, target: Path | None, findings: Path | TextIO, work: WorkFolder | None = None
    ) -> GazeReport:
        """Draw and aggregate recorded findings; target None: stdout, if anything is drawn."""
        by_name = isinstance(findings, Path) and not self.many
        if isinstance(findings, Path):
            check = content_check(source, self.console, self.force_findings)
        else:
            check = ContentCheck(partial(content_digest, source))
        recorded = RecordedFindings(findings, source.name, by_name, check=check, transform=interpolate_keyframes)
        aggregator = self._new_aggregator(source)
        if self.targets:
            run = self._run(recorded, aggregator)
            run.work, run.on_frame = work, aggregator.add
            report = process_input(source, target, run, overwrite=self.targets.overwrite)
        else:
            report = self._aggregate(source, recorded, aggregator)
        aggregator.finish()
        if self.heat:
            self.heat.save(source, aggregator)
        return GazeReport(**vars(report), attention=aggregator.as_dict())

    def _new_aggregator(self, source: Input) -> GazeAggregator:
        return GazeAggregator(GazeWriter(self.gazes, source.name) if self.gazes else None)

    def _run(self, findings_source: ModelInference | RecordedFindings, aggregator: GazeAggregator) -> Run:
        return Run(
            findings_source,
            GazeEffect(aggregator),
            self.output_options,
            self.live,
            masks_unjudged=False,
            progress=progress_reporter(self.console),
        )

    def _aggregate(self, source: Input, recorded: RecordedFindings, aggregator: GazeAggregator) -> Report:
        """Aggregate findings without drawing, for which the input itself is not needed."""
        report, progress = Report(source.name, "", "findings"), progress_reporter(self.console)
        for record in recorded:
            report.count(record.info, record.findings)
            aggregator.add(record.info, record.findings)
            report.reach(record.info)
            progress(report, None)
        return report


def _add_analysis(report: Report, analysis: Report) -> None:
    """Add the report of the first pass to that of the second."""
    report.model = analysis.model
    report.seconds += analysis.seconds
    names = [*analysis.stages, *report.stages]
    report.stages = {name: analysis.stages.get(name, 0.0) + report.stages.get(name, 0.0) for name in names}
    report.notes = [*analysis.notes, *report.notes]
    report.incomplete = report.incomplete or analysis.incomplete
