"""Redacts every input there is."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mdtool.console import Console
from mdtool.errors import Exit
from mdtool.jobs.each_input import each_input, finished, progress_on
from mdtool.jobs.recorded_findings import recorded
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.pipeline.process_input import open_input, rework
from mdtool.pipeline.resume import resumable, seconds_of
from mdtool.pipeline.run import Form, Inquiry, Live, Run
from mdtool.pipeline.targets import Targets
from mdtool.records.findings import FindingsWriter, Lines


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
        with ExitStack() as stack:
            # What may keep one waiting is opened later, once it is known that the output can be written.
            at_once = source.path is not None and source.path.is_file()
            medium = open_input(source, stack, self.live.duration) if at_once else None
            settings = {"redaction": self.redaction, "form": self.form}
            lasts = seconds_of(medium)
            keeping = resumable(source, target, self.known, settings, lasts=lasts, console=self.console)
            known, work = stack.enter_context(keeping)
            run = Run(
                recorded(known, source, self.targets) if isinstance(known, Path) else known,
                self.redaction,
                self.form,
                self.live,
                work,
                progress=progress_on(self.console),
            )
            if self.findings:
                run.findings = FindingsWriter(
                    self.findings, source.name, run.model, self.prompts, sha256=content_digest(source)
                )
            report = rework(source, target, run, overwrite=self.targets.overwrite, medium=medium)
        return finished(report, self.console)
