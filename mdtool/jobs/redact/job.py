"""The job of `mdtool redact`: redacts each input."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mdtool.console import Console
from mdtool.errors import ExitCode
from mdtool.jobs.each_input import each_input, progress_reporter, report_result
from mdtool.jobs.recorded_findings import digest_to_match, recorded
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.pipeline.process_input import open_input, process_input
from mdtool.pipeline.resume import resumable, seconds_of
from mdtool.pipeline.run import LiveSettings, ModelInference, OutputOptions, Run
from mdtool.pipeline.targets import Targets
from mdtool.records.findings import FindingsWriter, Lines


@dataclass(frozen=True)
class RedactJob:
    """Settings that the inputs of one command share.

    Attributes:
        findings_source: The model inference, or a file of findings.
        prompts: What is detected.
        findings: Output of the findings, if any.
        force_findings: Use findings of other content too.
    """

    redaction: Redaction
    findings_source: ModelInference | Path
    prompts: Sequence[str]
    output_options: OutputOptions
    live: LiveSettings
    targets: Targets
    console: Console
    findings: Lines | None = None
    force_findings: bool = False

    def run(self, sources: Sequence[Input]) -> ExitCode:
        """Process the inputs, and return the exit code."""
        return each_input(sources, self._redact, self.console)

    def _redact(self, source: Input) -> ExitCode:
        target = self.targets.for_input(source)
        if not self.targets.take(source, target, self.console):
            return ExitCode.OK
        with ExitStack() as stack:
            # Opening a pipe or a stream may block: it is opened later, after the check that the output can be written.
            is_file = source.path is not None and source.path.is_file()
            media = open_input(source, stack, self.live.duration) if is_file else None
            resuming = resumable(
                source,
                target,
                self.findings_source,
                {"redaction": self.redaction, "form": self.output_options},
                duration=seconds_of(media),
                console=self.console,
            )
            findings_source, work = stack.enter_context(resuming)
            run = Run(
                recorded(
                    findings_source,
                    source,
                    self.targets,
                    digest_to_match(source, self.console, self.force_findings),
                )
                if isinstance(findings_source, Path)
                else findings_source,
                self.redaction,
                self.output_options,
                self.live,
                work,
                progress=progress_reporter(self.console),
            )
            if self.findings:
                run.findings = FindingsWriter(
                    self.findings, source.name, run.model, self.prompts, sha256=content_digest(source)
                )
            report = process_input(source, target, run, overwrite=self.targets.overwrite, media=media)
        return report_result(report, self.console)
