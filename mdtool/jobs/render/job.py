"""Draws findings again, on every input they are of."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.contract import normalize_prompt
from mdtool.console import Console
from mdtool.errors import Exit, NoInputFound, UsageError
from mdtool.jobs.each_input import each_input, progress_reporter, report_result
from mdtool.jobs.recorded_findings import recorded
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.findings_file import records
from mdtool.pipeline.process_input import process_input
from mdtool.pipeline.run import Effect, OutputOptions, Run
from mdtool.pipeline.targets import Targets


@dataclass(frozen=True)
class RenderJob:
    """All that the inputs of one command have in common."""

    effect: Effect
    findings: Path
    output_options: OutputOptions
    targets: Targets
    console: Console

    def run(self, sources: Sequence[Input]) -> Exit:
        return each_input(sources, self._render, self.console)

    def _render(self, source: Input) -> Exit:
        target = self.targets.for_input(source)
        if target is not None and not self.targets.take(source, target, self.console):
            return Exit.OK
        known = recorded(self.findings, source, self.targets)
        run = Run(known, self.effect, self.output_options, progress=progress_reporter(self.console))
        return report_result(process_input(source, target, run, overwrite=self.targets.overwrite), self.console)


@dataclass(frozen=True)
class Contents:
    """What findings are of: sources in their order, and labels, normalised, with how they are written."""

    sources: dict[str, None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


def contents_of(findings: Path) -> Contents:
    """InputError for what is no findings, NoInputFound where there are none."""
    contents = Contents()
    for record in records(findings):
        contents.sources.setdefault(record.source)
        for region in record.findings.regions:
            contents.labels.setdefault(normalize_prompt(region.label), region.label)
    if not contents.sources:
        raise NoInputFound(f"{findings}: holds no findings")
    return contents


def check_labels(wanted: Iterable[str], contents: Contents) -> None:
    """UsageError for a label that nothing has: a slip would hide nothing."""
    for label in wanted:
        if normalize_prompt(label) not in contents.labels:
            known = ", ".join(sorted(contents.labels.values())) or "no labels"
            raise UsageError(f"--label {label}: nothing has this label; the findings have {known}")


def sources_of(contents: Contents, console: Console) -> list[Input]:
    """The files that the findings name, if they are there; of the others the person is told. NoInputFound if none
    is."""
    names = [name for name in contents.sources if name != "-"]
    common = os.path.commonpath([os.path.abspath(os.path.dirname(name)) for name in names]) if names else ""
    here = []
    for name in names:
        if os.path.exists(name):
            here.append(Input(Path(name), Path(os.path.relpath(os.path.abspath(name), common)), name))
        else:
            console.note(f"{name}: is named in the findings, but it is not here")
    if not here:
        raise NoInputFound("none of the files that the findings name is here; name them after the findings")
    return here
