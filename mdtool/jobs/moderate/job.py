"""The job of `mdtool moderate`: a first pass evaluates a policy on each input, a second one applies its actions."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from engine.contract import normalize_prompt
from mdtool.console import Console
from mdtool.errors import ExitCode, InputError, OutputError, UsageError, output_errors_for
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.each_input import each_input, progress_reporter, summarise, what_was_made
from mdtool.jobs.moderate.effect import Moderation
from mdtool.jobs.moderate.evaluate_policy import PolicyEvaluator, PolicyResult, check_prompts_covered, evaluate_policy
from mdtool.jobs.moderate.live import LiveModeration
from mdtool.jobs.recorded_findings import content_check
from mdtool.jobs.report.build_chapter import build_chapter
from mdtool.media.canvas import Colour
from mdtool.media.file_types import STILL_SUFFIXES
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.spool import spool
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live, spooled
from mdtool.media.video.part import Part
from mdtool.media.video.writer import muxer_for
from mdtool.pipeline.analyse import analyse
from mdtool.pipeline.findings_file import RecordedFindings, records, records_of
from mdtool.pipeline.process_input import process_input
from mdtool.pipeline.resume import resumable, seconds_of_file
from mdtool.pipeline.run import LiveSettings, ModelInference, OutputOptions, Run
from mdtool.pipeline.split import analyse_part
from mdtool.pipeline.targets import Targets
from mdtool.pipeline.track_selection import TrackSelection
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo, Lines, Tee
from mdtool.records.run_report import Report
from mdtool.report.contents import Chapter
from mdtool.report.page import page
from mdtool.report.times import format_clock
from recipes.policy import ANY, Policy
from recipes.verdict import Ruling, Verdict

MAX_SPANS = 3  # listed in one line


@dataclass(frozen=True)
class ModerateJob:
    """Settings that the inputs of one command share.

    Attributes:
        policy: The policy.
        findings_source: The model inference, or a file of findings.
        report_only: Write nothing to the targets.
        colour: RGB colour of solid masks and of whole-frame masks.
        fail_on: Names of rules, or `recipes.policy.ANY`, whose hits make the exit code FOUND.
        findings: Output of the findings, if any.
        page: File of the HTML report, with a chapter for each input, if any.
        selection: Which objects of recorded findings count.
        force_findings: Use findings of other content too.
        side_output: A file that is written even if nothing else is, next to which work is saved for resuming.
        part: The part of the only input that is analysed; None for the whole, which is judged too.
    """

    policy: Policy
    findings_source: ModelInference | Path
    output_options: OutputOptions
    targets: Targets
    console: Console
    live: LiveSettings = LiveSettings()
    report_only: bool = False
    colour: Colour = (0, 0, 0)
    fail_on: Sequence[str] = ()
    findings: Lines | None = None
    page: Path | None = None
    selection: TrackSelection = TrackSelection()
    force_findings: bool = False
    side_output: Path | None = None
    part: Part | None = None
    _chapters: list[Chapter] = field(default_factory=list)

    def run(self, sources: Sequence[Input], title: str) -> ExitCode:
        """Process the inputs, and return the exit code.

        Args:
            sources: The inputs.
            title: Title of the report.
        """
        folder = None if self.report_only else self.targets.folder_of(sources)
        if folder is None and (file := self.page or self.side_output):
            folder = file.parent
        if self.page is None:
            return each_input(sources, self._moderate, self.console, folder)
        with output_errors_for(self.page), AtomicFile(self.page, self.targets.overwrite) as atomic:
            for source in sources:
                atomic.restrict(source.path)
            code = each_input(sources, self._moderate, self.console, folder)
            if self._chapters:
                atomic.part.write_text(page(title, self._chapters), "utf-8")
                atomic.commit()
        return code

    def _moderate(self, source: Input) -> ExitCode:
        if is_live(source):
            return self._moderate_live(source)
        writes, target = not self.report_only, None
        if writes:
            if self.targets.is_own_output(source):
                return ExitCode.OK
            target = self.targets.file_for(source)
            if target is not None:
                instead = "only judged" if self._needs_verdict else "skipped"
                writes = self.targets.take(source, target, self.console, instead=instead)
                self._check_target(target)
        if not writes and not self._needs_verdict:
            return ExitCode.OK
        resuming = resumable(
            source,
            target,
            self.findings_source,
            {
                "policy": self.policy,
                "colour": self.colour,
                "form": self.output_options,
                "writes": writes,
                "selection": self.selection.settings,
            },
            duration=seconds_of_file(source),
            console=self.console,
            side_output=self.page or self.side_output,
            part=self.part,
        )
        with resuming as (findings_source, work), ExitStack() as stack:
            if self.part and isinstance(findings_source, ModelInference):
                analyse_part(source, self.part, findings_source)
                return ExitCode.OK
            local = spooled(source, stack) if writes or self.page else source
            file, findings_path = stack.enter_context(_findings_spool())
            report = self._find(local, findings_source, file)
            policy_result = evaluate_policy(records(findings_path), self.policy)
            if writes:
                self._write(
                    local, target, findings=findings_path, policy_result=policy_result, report=report, work=work
                )
            elif policy_result.verdict.unjudged:
                report.notes.append(f"{_frames(policy_result.verdict.unjudged)} could not be judged")
            self._add_chapter(local, findings_path, report, policy_result.verdict)
        return self._report(report, policy_result.verdict)

    def _moderate_live(self, source: Input) -> ExitCode:
        """Process a live source in a single pass."""
        inference = self.findings_source
        if isinstance(inference, Path):
            raise UsageError("--from-findings: can't be used with a live source; leave it out")
        target = None if self.report_only else self.targets.for_input(source)
        if not self.report_only and not self.targets.take(source, target, self.console):
            if self._needs_verdict:
                raise InputError(f"{target} already exists, and can't be judged again: the source is live")
            return ExitCode.OK
        moderation, evaluator = LiveModeration(self.policy, self.colour), PolicyEvaluator(self.policy)
        with ExitStack() as stack:
            spooled_findings, findings_path = stack.enter_context(_findings_spool())
            outputs = [Tee(spooled_findings, self.findings)] if self.page else [self.findings] if self.findings else []
            writers = [FindingsWriter(file, source.name, inference.model, self.policy.prompts) for file in outputs]

            def on_frame(info: FrameInfo, findings: FrameFindings) -> None:
                for writer in writers:
                    writer.write(info, findings)
                evaluator.add(info, findings)
                moderation.add(info, findings)

            if self.report_only:
                report = analyse(source, inference, on_frame, progress_reporter(self.console), live=self.live)
            else:
                run = Run(
                    inference,
                    moderation,
                    self.output_options,
                    self.live,
                    is_silent=moderation.is_silent if self.policy.silences else None,
                    masks_unjudged=self.policy.hides,
                    on_frame=on_frame,
                    progress=progress_reporter(self.console),
                )
                report = process_input(source, target, run, overwrite=self.targets.overwrite)
            report.hidden = report.hidden if self.policy.hides and not self.report_only else 0
            policy_result = evaluator.result()
            spooled_findings.flush()
            self._add_chapter(source, findings_path, report, policy_result.verdict)
        return self._report(report, policy_result.verdict)

    def _add_chapter(self, source: Input, findings: Path, report: Report, verdict: Verdict) -> None:
        if self.page:
            self._chapters.append(build_chapter(source, findings, report.model, verdict))

    @property
    def _needs_verdict(self) -> bool:
        """Whether an input is judged even if its output exists already."""
        return self.report_only or bool(self.fail_on or self.page or self.findings or self.console.as_json)

    def _check_target(self, target: Path) -> None:
        """Check that the target can be written, before the slow first pass; raise OutputError or UsageError."""
        if not self.targets.many and not self.targets.overwrite and os.path.lexists(target):
            raise OutputError(f"{target}: exists already; --overwrite replaces it")
        if self.output_options.muxer is None and not any(
            target.suffix.lower() in suffixes for suffixes in STILL_SUFFIXES.values()
        ):
            muxer_for(target.name)

    # -- the first pass

    def _find(self, source: Input, findings_source: ModelInference | Path, file: TextIO) -> Report:
        """Write the findings of every frame of the source."""
        if isinstance(findings_source, Path):
            report = self._copy_findings(findings_source, source, file)
        else:
            sha256 = content_digest(source) if self.findings else ""
            writer = FindingsWriter(
                Tee(file, self.findings), source.name, findings_source.model, self.policy.prompts, sha256=sha256
            )
            report = analyse(source, findings_source, writer.write, progress_reporter(self.console), live=self.live)
            self.console.clear()
        report.hidden = 0  # no frame is masked yet
        file.flush()
        return report

    def _copy_findings(self, findings: Path, source: Input, file: Lines) -> Report:
        """Copy the source's records from a file of findings."""
        report = Report(source.name, "", "findings")
        check = content_check(source, self.console, self.force_findings)
        recorded = records_of(findings, source.name, not self.targets.many, check)
        for record in self.selection.apply(recorded):
            check_prompts_covered(record, self.policy)
            raise_if_interrupted()
            FindingsWriter(file, source.name, record.model, record.prompts).write(record.info, record.findings)
            report.count(record.info, record.findings)
            report.reach(record.info)
        return report

    # -- the second pass

    def _write(
        self,
        source: Input,
        target: Path | None,
        *,
        findings: Path,
        policy_result: PolicyResult,
        report: Report,
        work: WorkFolder | None,
    ) -> None:
        """Write the moderated copy, and add its report to that of the first pass."""
        moderation = Moderation(self.policy, policy_result, self.colour)
        if policy_result.verdict.unjudged:
            count = policy_result.verdict.unjudged
            masked = f", and {'is' if count == 1 else 'are'} masked whole" if self.policy.hides else ""
            report.notes.append(f"{_frames(count)} could not be judged{masked}")
        cut = moderation.edit.cut
        if cut and all(cut.contains(record.info.time) for record in records(findings)):
            report.notes.append("every frame is cut: no output is written")
            return
        run = Run(
            RecordedFindings(findings, source.name, by_name=False),
            moderation,
            self.output_options,
            work=work,
            edit=moderation.edit,
            masks_unjudged=self.policy.hides,
            progress=progress_reporter(self.console),
        )
        written = process_input(source, target, run, overwrite=self.targets.overwrite)
        report.target, report.incomplete = written.target, written.incomplete
        report.hidden = written.hidden if self.policy.hides else 0
        report.seconds += written.seconds
        report.stages = dict(Counter(report.stages) + Counter(written.stages))
        report.notes += written.notes

    # -- the summary

    def _report(self, report: Report, verdict: Verdict) -> ExitCode:
        if not self.console.as_json:
            for ruling in verdict.rulings:
                if ruling.hit:
                    self.console.note(f"{report.source}: {_line(ruling)}")
        summarise(report, self.console, _record(report, verdict))
        if report.incomplete:
            made = what_was_made(report, self.policy.hides)
            said = f"only what could be read was judged{f', and {made}' if made else ''}"
            self.console.error(f"{report.source}: {report.incomplete}; {said}")
            return ExitCode.SOME_FAILED
        return self._exit_code(verdict)

    def _exit_code(self, verdict: Verdict) -> ExitCode:
        failing_rules = {normalize_prompt(name) for name in self.fail_on}
        if any(ruling.hit and failing_rules & {ANY, normalize_prompt(ruling.rule.name)} for ruling in verdict.rulings):
            return ExitCode.FOUND
        if ANY in failing_rules and verdict.unjudged:
            self.console.note("frames that could not be judged count as hits")
            return ExitCode.FOUND
        return ExitCode.OK


def check_rules(policy: Policy, names: Sequence[str]) -> None:
    """Check the rules of `--fail-on`.

    Raises:
        UsageError: One of the names is not a rule of the policy.
    """
    rule_names = [ANY, *(rule.name for rule in policy.rules)]
    for name in names:
        if normalize_prompt(name) not in map(normalize_prompt, rule_names):
            raise UsageError(f"--fail-on {name}: there is no such rule; give one of {', '.join(rule_names)}")


def _findings_spool() -> AbstractContextManager[tuple[TextIO, Path]]:
    """Open a temporary file for findings."""
    return spool("w", encoding="utf-8", errors="backslashreplace")


def _record(report: Report, verdict: Verdict) -> dict[str, Any]:
    """Return the verdict for JSON, with the rest of the report under "run"."""
    fields, run = verdict.as_dict(), report.as_dict()
    head = {key: run.pop(key) or None for key in ("source", "target", "model")}
    return {"schema": fields.pop("schema"), **head, **fields, "run": run}


def _line(ruling: Ruling) -> str:
    """Describe a rule that is hit, in one line."""
    spans = [f"{format_clock(start)} to {format_clock(end)}" for start, end in ruling.spans if end > start]
    more = f" and {len(spans) - MAX_SPANS} more" if len(spans) > MAX_SPANS else ""
    when = f" {', '.join(spans[:MAX_SPANS])}{more}" if spans else ""
    area = "" if ruling.area is None else f", up to {ruling.area:.1%} of the frame"
    return f"{ruling.rule.name} ({ruling.rule.action}):{when} {_frames(ruling.frames)}{area}"


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"
