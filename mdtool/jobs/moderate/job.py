"""Holds every input there is against a policy: judges it first, then makes a copy with what the policy wants done."""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from engine.contract import normalize_prompt
from mdtool.console import Console
from mdtool.errors import Exit, OutputError, UsageError, output_errors_for
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.each_input import each_input, progress_reporter, summarise
from mdtool.jobs.moderate.effect import Moderation
from mdtool.jobs.moderate.evaluate_policy import PolicyEvaluator, PolicyResult, check_prompts_covered, evaluate_policy
from mdtool.jobs.moderate.live import LiveModeration
from mdtool.jobs.report.build_chapter import build_chapter
from mdtool.media.canvas import Colour
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live, spooled
from mdtool.media.video.writer import muxer_for
from mdtool.pipeline.analyse import analyse
from mdtool.pipeline.findings_file import RecordedFindings, records, records_of
from mdtool.pipeline.process_input import STILL_SUFFIXES, process_input
from mdtool.pipeline.resume import resumable, seconds_of_file
from mdtool.pipeline.run import LiveSettings, ModelInference, OutputOptions, Run
from mdtool.pipeline.targets import Targets
from mdtool.pipeline.work_folder import WorkFolder
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo, Lines, Tee
from mdtool.records.run_report import Report
from mdtool.report.contents import Chapter
from mdtool.report.page import page
from mdtool.report.times import format_clock
from recipes.policy import ANY, Policy
from recipes.verdict import Ruling, Verdict

MOST_SPANS = 3  # that are told one by one in a line


@dataclass(frozen=True)
class ModerateJob:
    """All that the inputs of one command have in common. known: an inquiry, or a file of findings.

    report_only: nothing is written to targets. fail_on: rules, or `recipes.policy.ANY`, that make the outcome FOUND.
    findings: where those that are made go besides. page: where the report goes, with a chapter for each input.
    """

    policy: Policy
    known: ModelInference | Path
    output_options: OutputOptions
    targets: Targets
    console: Console
    live: LiveSettings = LiveSettings()
    report_only: bool = False
    colour: Colour = (0, 0, 0)
    fail_on: Sequence[str] = ()
    findings: Lines | None = None
    page: Path | None = None
    _chapters: list[Chapter] = field(default_factory=list)

    def run(self, sources: Sequence[Input], title: str) -> Exit:
        """title: of the report."""
        if self.page is None:
            return each_input(sources, self._moderate, self.console)
        with output_errors_for(self.page), AtomicFile(self.page, self.targets.overwrite) as whole:
            outcome = each_input(sources, self._moderate, self.console)
            if self._chapters:
                whole.part.write_text(page(title, self._chapters), "utf-8")
                whole.commit()
        return outcome

    def _moderate(self, source: Input) -> Exit:
        if is_live(source):
            return self._moderate_live(source)
        writes, target = not self.report_only, None
        if writes:
            if self.targets.is_own_output(source):
                return Exit.OK
            target = self.targets.file_for(source)
            if target is not None:
                writes = self.targets.take(source, target, self.console)
                self._check_target(target)
        if not writes and not self._verdict_wanted:
            return Exit.OK
        settings = {"policy": self.policy, "colour": self.colour, "form": self.output_options, "writes": writes}
        duration = seconds_of_file(source)
        with (
            resumable(
                source, target, self.known, settings, duration=duration, console=self.console, side_output=self.page
            ) as (
                known,
                work,
            ),
            ExitStack() as stack,
        ):
            once = spooled(source, stack) if writes or self.page else source
            file, found = _temporary(stack)
            report = self._find(once, known, file)
            policy_result = evaluate_policy(records(found), self.policy)
            if writes:
                self._write(once, target, found=found, policy_result=policy_result, report=report, work=work)
            elif policy_result.verdict.unjudged:
                report.notes.append(f"{_frames(policy_result.verdict.unjudged)} could not be judged")
            self._add_chapter(once, found, report, policy_result.verdict)
        return self._tell(report, policy_result.verdict)

    def _moderate_live(self, source: Input) -> Exit:
        """What plays now, in one go."""
        if isinstance(self.known, Path):
            raise UsageError("--from-findings: what plays live was not there before; leave it out")
        target = None if self.report_only else self.targets.for_input(source)
        if not self.report_only and not self.targets.take(source, target, self.console):
            return Exit.OK
        moderation, evaluator = LiveModeration(self.policy, self.colour), PolicyEvaluator(self.policy)
        with ExitStack() as stack:
            spool, found = _temporary(stack)
            outputs = [Tee(spool, self.findings)] if self.page else [self.findings] if self.findings else []
            files = [FindingsWriter(file, source.name, self.known.model, self.policy.prompts) for file in outputs]

            def on_frame(info: FrameInfo, findings: FrameFindings) -> None:
                for file in files:
                    file.write(info, findings)
                evaluator.add(info, findings)
                moderation.take(info, findings)

            if self.report_only:
                report = analyse(source, self.known, on_frame, progress_reporter(self.console), live=self.live)
            else:
                run = Run(
                    self.known,
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
            spool.flush()
            self._add_chapter(source, found, report, policy_result.verdict)
        return self._tell(report, policy_result.verdict)

    def _add_chapter(self, source: Input, found: Path, report: Report, verdict: Verdict) -> None:
        if self.page:
            self._chapters.append(build_chapter(source, found, report.model, verdict))

    @property
    def _verdict_wanted(self) -> bool:
        """Whether an input is judged even if its output is there already."""
        return self.report_only or bool(self.fail_on or self.page or self.console.as_json)

    def _check_target(self, target: Path) -> None:
        """Before the input is looked at, which takes long. Raises OutputError or UsageError."""
        if not self.targets.many and not self.targets.overwrite and os.path.lexists(target):
            raise OutputError(f"{target}: exists already; --overwrite replaces it")
        if self.output_options.muxer is None and not any(
            target.suffix.lower() in known for known in STILL_SUFFIXES.values()
        ):
            muxer_for(target.name)

    # -- the first pass

    def _find(self, source: Input, known: ModelInference | Path, file: TextIO) -> Report:
        """Writes down what is known of each frame of the source."""
        if isinstance(known, Path):
            report = self._find_again(known, source, file)
        else:
            sha256 = content_digest(source) if self.findings else ""
            findings = FindingsWriter(
                Tee(file, self.findings), source.name, known.model, self.policy.prompts, sha256=sha256
            )
            report = analyse(source, known, findings.write, progress_reporter(self.console), live=self.live)
            self.console.clear()
        report.hidden = 0  # nothing is yet
        file.flush()
        return report

    def _find_again(self, findings: Path, source: Input, file: Lines) -> Report:
        """Writes down what other findings say of the source."""
        report = Report(source.name, "", "findings")
        digest = partial(content_digest, source)
        for record in records_of(findings, source.name, not self.targets.many, digest):
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
        found: Path,
        policy_result: PolicyResult,
        report: Report,
        work: WorkFolder | None,
    ) -> None:
        """Makes the copy, and adds what is to be told of that to the report."""
        moderation = Moderation(self.policy, policy_result, self.colour)
        if policy_result.verdict.unjudged:
            covered = ", and are covered whole" if self.policy.hides else ""
            report.notes.append(f"{_frames(policy_result.verdict.unjudged)} could not be judged{covered}")
        cut = moderation.edit.cut
        if cut and all(cut.contains(record.info.time) for record in records(found)):
            report.notes.append("all of it is cut: nothing is written")
            return
        known = RecordedFindings(found, source.name, by_name=False)
        run = Run(
            known,
            moderation,
            self.output_options,
            work=work,
            edit=moderation.edit,
            masks_unjudged=self.policy.hides,
            progress=progress_reporter(self.console),
        )
        done = process_input(source, target, run, overwrite=self.targets.overwrite)
        report.target, report.incomplete = done.target, done.incomplete
        report.hidden = done.hidden if self.policy.hides else 0
        report.seconds += done.seconds
        report.stages = dict(Counter(report.stages) + Counter(done.stages))
        report.notes += done.notes

    # -- what is told

    def _tell(self, report: Report, verdict: Verdict) -> Exit:
        if not self.console.as_json:
            for ruling in verdict.rulings:
                if ruling.hit:
                    self.console.note(f"{report.source}: {_line(ruling)}")
        summarise(report, self.console, _record(report, verdict))
        if report.incomplete:
            self.console.error(f"{report.source}: {report.incomplete}; only what could be read was judged")
            return Exit.SOME_FAILED
        return self._outcome(verdict)

    def _outcome(self, verdict: Verdict) -> Exit:
        failing_rules = {normalize_prompt(name) for name in self.fail_on}
        if any(ruling.hit and failing_rules & {ANY, normalize_prompt(ruling.rule.name)} for ruling in verdict.rulings):
            return Exit.FOUND
        if ANY in failing_rules and verdict.unjudged:
            self.console.note("what could not be judged counts as found")
            return Exit.FOUND
        return Exit.OK


def check_rules(policy: Policy, names: Sequence[str]) -> None:
    """UsageError if one of the names is no rule of the policy."""
    known = [ANY, *(rule.name for rule in policy.rules)]
    for name in names:
        if normalize_prompt(name) not in map(normalize_prompt, known):
            raise UsageError(f"--fail-on {name}: there is no such rule; known: {', '.join(known)}")


def _temporary(stack: ExitStack) -> tuple[TextIO, Path]:
    """A file for findings that lasts as long as the stack."""
    made = tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="backslashreplace", prefix="mdtool-")  # noqa: SIM115
    file = stack.enter_context(made)
    return cast(TextIO, file), Path(file.name)


def _record(report: Report, verdict: Verdict) -> dict[str, Any]:
    """For JSON: the verdict, and under "run" what the report has besides."""
    told, run = verdict.as_dict(), report.as_dict()
    about = {key: run.pop(key) or None for key in ("source", "target", "model")}
    return {"schema": told.pop("schema"), **about, **told, "run": run}


def _line(ruling: Ruling) -> str:
    """A rule that is hit, for a person."""
    spans = [f"{format_clock(start)} to {format_clock(end)}" for start, end in ruling.spans if end > start]
    more = f" and {len(spans) - MOST_SPANS} more" if len(spans) > MOST_SPANS else ""
    when = f" {', '.join(spans[:MOST_SPANS])}{more}" if spans else ""
    area = "" if ruling.area is None else f", up to {ruling.area:.1%} of the picture"
    return f"{ruling.rule.name} ({ruling.rule.action}):{when} {_frames(ruling.frames)}{area}"


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"
