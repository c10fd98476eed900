"""The job of `mdtool redact`: redacts each input."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from mdtool.console import Console
from mdtool.errors import ExitCode, InputError, UsageError
from mdtool.jobs.each_input import each_input, progress_reporter, report_result
from mdtool.jobs.recorded_findings import content_check, recorded
from mdtool.jobs.redact.effect import Redaction
from mdtool.jobs.redact.masked_frames import MaskedFrames
from mdtool.jobs.redact.verify import OutputVerification, Verifier, report_verification
from mdtool.media.files.spool import spool
from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live
from mdtool.media.video.part import Part
from mdtool.pipeline.analyse import analyse
from mdtool.pipeline.findings_file import ContentCheck, RecordedFindings
from mdtool.pipeline.process_input import open_input, process_input
from mdtool.pipeline.resume import resumable, seconds_of, seconds_of_file
from mdtool.pipeline.run import LiveSettings, ModelInference, OutputOptions, Run
from mdtool.pipeline.split import encode_part
from mdtool.pipeline.targets import Target, Targets
from mdtool.pipeline.track_selection import TrackSelection
from mdtool.pipeline.video import StaleSegments
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import FindingsWriter, Lines
from mdtool.records.run_report import Report


@dataclass(frozen=True)
class RedactJob:
    """Settings that the inputs of one command share.

    Attributes:
        findings_source: The model inference, or a file of findings.
        prompts: What is detected.
        findings: Output of the findings, if any.
        selection: Which objects of recorded findings are masked.
        verifier: How outputs are verified; None for not at all.
        force_findings: Use findings of other content too.
        part: The part of the only input that is worked on; None for the whole.
    """

    redaction: Redaction
    findings_source: ModelInference | Path
    prompts: Sequence[str]
    output_options: OutputOptions
    live: LiveSettings
    targets: Targets
    console: Console
    findings: Lines | None = None
    selection: TrackSelection = TrackSelection()
    verifier: Verifier | None = None
    force_findings: bool = False
    part: Part | None = None

    def run(self, sources: Sequence[Input]) -> ExitCode:
        """Process the inputs, and return the exit code."""
        return each_input(sources, self._redact, self.console, self.targets.folder_of(sources))

    def _redact(self, source: Input) -> ExitCode:
        target = self.targets.for_input(source)
        if self.verifier and (isinstance(target, Address) or is_live(source)):
            raise UsageError("--verify: can't be used with a live source or target, only with files; leave it out")
        instead = "only its findings are written" if self.findings and not is_live(source) else "skipped"
        if not self.targets.take(source, target, self.console, verifies=self.verifier is not None, instead=instead):
            if self.findings is None or self.targets.is_own_output(source):
                return ExitCode.OK
            return self._find(source, target, self.findings)
        try:
            report = self._process(source, target, self.findings)
        except StaleSegments:
            report = self._process(source, target, None)  # all findings were written before
        if self.part:
            return ExitCode.OK
        return max(report_result(report, self.console), report_verification(report, self.console))

    def _process(self, source: Input, target: Target, findings: Lines | None) -> Report:
        check = content_check(source, self.console, self.force_findings)
        with ExitStack() as stack:
            # Opening a pipe or a stream may block: it is opened later, after the check that the output can be written.
            media = open_input(source, stack, self.live.duration) if source.path else None
            findings_source, work = stack.enter_context(self._resumable(source, target, seconds_of(media)))
            run = Run(
                self._recorded(findings_source, source, check)
                if isinstance(findings_source, Path)
                else findings_source,
                self.redaction,
                self.output_options,
                self.live,
                work,
                progress=progress_reporter(self.console),
            )
            if findings:
                run.findings = self._writer(findings, source, run.model)
            if self.verifier:
                verification = self._verification(self.verifier, source, work, stack, check=check)
                run.on_frame, run.verify = verification.masked.add, verification.check
            if self.part:
                assert isinstance(target, Path)
                encode_part(source, target, self.part, run)
                return Report(source.name, str(target), run.model)
            return process_input(source, target, run, overwrite=self.targets.overwrite, media=media)

    def _find(self, source: Input, target: Target, findings: Lines) -> ExitCode:
        """Write the findings of an input whose output exists already and stays as it is.

        The run that made the output may have been ended before its findings got their name.
        """
        if is_live(source):
            raise InputError(f"{target} already exists, and its findings can't be made again: the source is live")
        progress = progress_reporter(self.console)
        with self._resumable(source, target, seconds_of_file(source)) as (findings_source, _):
            if isinstance(findings_source, ModelInference):
                writer = self._writer(findings, source, findings_source.model)
                report = analyse(source, findings_source, writer.write, progress, live=self.live)
            else:
                report = Report(source.name, "", "findings")
                writer = self._writer(findings, source, report.model)
                check = content_check(source, self.console, self.force_findings)
                for record in self._recorded(findings_source, source, check):
                    report.count(record.info, record.findings)
                    writer.write(record.info, record.findings)
                    report.reach(record.info)
                    progress(report, None)
        return report_result(report, self.console)

    def _resumable(
        self, source: Input, target: Target, duration: float
    ) -> AbstractContextManager[tuple[ModelInference | Path, WorkFolder | None]]:
        return resumable(
            source,
            target,
            self.findings_source,
            {"redaction": self.redaction, "form": self.output_options, "selection": self.selection.settings},
            duration=duration,
            console=self.console,
            part=self.part,
        )

    def _recorded(self, findings: Path, source: Input, check: ContentCheck) -> RecordedFindings:
        return recorded(findings, source, self.targets, check=check, transform=self.selection.apply)

    def _writer(self, findings: Lines, source: Input, model: str) -> FindingsWriter:
        return FindingsWriter(findings, source.name, model, self.prompts, sha256=content_digest(source))

    def _verification(
        self, verifier: Verifier, source: Input, work: WorkFolder | None, stack: ExitStack, *, check: ContentCheck
    ) -> OutputVerification:
        inference, left_out = self.findings_source, None
        span = (None, None) if isinstance(inference, Path) else (inference.request.start, inference.request.end)
        if isinstance(inference, Path) and self.selection:
            left_out = recorded(inference, source, self.targets, check=check, transform=self.selection.left_out)
        file, _ = stack.enter_context(spool("w+", encoding="utf-8", errors="backslashreplace"))
        masked = MaskedFrames(file, span)
        progress = progress_reporter(self.console, "verified")
        return OutputVerification(verifier, self.redaction, masked, left_out, work, progress)
