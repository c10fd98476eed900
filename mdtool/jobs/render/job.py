"""The job of `mdtool render`: draws recorded findings on their inputs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mdtool.console import Console
from mdtool.errors import ExitCode, NoInputFound
from mdtool.jobs.each_input import each_input, progress_reporter, report_result
from mdtool.jobs.recorded_findings import content_check, recorded
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.process_input import process_input
from mdtool.pipeline.run import Effect, OutputOptions, Run
from mdtool.pipeline.targets import Targets
from mdtool.pipeline.track_selection import FindingsContents, TrackSelection


@dataclass(frozen=True)
class RenderJob:
    """Settings that the inputs of one command share."""

    effect: Effect
    findings: Path
    output_options: OutputOptions
    targets: Targets
    console: Console
    selection: TrackSelection = TrackSelection()
    force_findings: bool = False

    def run(self, sources: Sequence[Input]) -> ExitCode:
        """Process the inputs, and return the exit code."""
        return each_input(sources, self._render, self.console, self.targets.folder_of(sources))

    def _render(self, source: Input) -> ExitCode:
        target = self.targets.for_input(source)
        if target is not None and not self.targets.take(source, target, self.console):
            return ExitCode.OK
        check = content_check(source, self.console, self.force_findings)
        findings = recorded(self.findings, source, self.targets, check=check, transform=self.selection.apply)
        run = Run(findings, self.effect, self.output_options, progress=progress_reporter(self.console))
        report = process_input(source, target, run, overwrite=self.targets.overwrite)
        return report_result(report, self.console, hides=isinstance(self.effect, Redaction))


def sources_of(contents: FindingsContents, console: Console) -> list[Input]:
    """Return the files that the findings name; report those that don't exist.

    Raises:
        NoInputFound: None of them exists.
    """
    names = [name for name in contents.sources if name != "-"]
    common = os.path.commonpath([os.path.abspath(os.path.dirname(name)) for name in names]) if names else ""
    sources = []
    for name in names:
        if os.path.exists(name):
            sources.append(Input(Path(name), Path(os.path.relpath(os.path.abspath(name), common)), name))
        else:
            console.note(f"{name}: is named in the findings, but does not exist")
    if not sources:
        raise NoInputFound("none of the files named in the findings exists; give the inputs after the findings")
    return sources
