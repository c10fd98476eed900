"""Redacts every input there is: one that fails is told and passed over, and shows in the exit code."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from engine.contract import EngineError, Model
from mdtool.console import Console
from mdtool.ending import check_not_ending, heeded
from mdtool.errors import Exit, MdtoolError, OutputError, StdoutError, UsageError
from mdtool.findings import FindingsFile, RecordedFindings
from mdtool.jobs.redact import redact_input
from mdtool.jobs.redaction import Redaction, Run
from mdtool.jobs.report import Report
from mdtool.media.inputs import MARK, Input
from mdtool.media.whole_file import cant_write

HOW_TO_SEE = "MDTOOL_DEBUG=1 shows where"


@dataclass(frozen=True)
class Targets:
    """Where outputs go. output None: beside their inputs; "-": stdout."""

    output: str | None
    many: bool
    overwrite: bool = False

    def of(self, source: Input) -> Path | None:
        """None: stdout."""
        if self.output == "-":
            if self.many:
                raise UsageError("-o -: only one input can go to stdout")
            return None
        if self.output is None:
            if source.path is None:
                raise UsageError("-: say with -o where the result of standard input goes (-o - for stdout)")
            return source.path.with_name(f"{source.path.stem}{MARK}{source.path.suffix}")
        output = Path(self.output)
        if self.many or self.output.endswith(os.sep) or os.path.isdir(output):
            target = output / source.relative
            if source.path is None:
                raise UsageError(f"-o {self.output}: is a folder; give a file name for the result of standard input")
            return target
        return output

    def hold(self, source: Input) -> bool:
        """Whether the input is an output of a run before, in an output folder that lies in the input folder."""
        if self.output is None or source.path is None or len(source.relative.parts) == 1:
            return False
        path, output = source.path.absolute(), Path(self.output).absolute()
        folder = path.parents[len(source.relative.parts) - 1]
        return path.is_relative_to(output) and folder in output.parents


@dataclass
class Batch:
    """All that the inputs of one run have in common. model None: what is hidden is read from `recorded`."""

    redaction: Redaction
    targets: Targets
    console: Console
    model: Model | None = None
    recorded: Path | None = None
    findings: TextIO | None = None
    taken: set[Path] = field(default_factory=set)

    def run(self, sources: Iterable[Input]) -> Exit:
        if self.targets.output == "-" and sys.stdout.isatty():
            raise UsageError("-o -: stdout is a terminal; pipe it on, or give the name of a file")
        codes = [self._attempt(source) for source in sources]
        failures = {code for code in codes if code}
        if not failures:
            return Exit.OK
        return failures.pop() if len(codes) == 1 else Exit.SOME_FAILED

    def _attempt(self, source: Input) -> Exit:
        """One input; its failure is told, and returned as an exit code."""
        target: Path | None = None
        try:
            with heeded():
                target = self.targets.of(source)
                return self._redact(source, target)
        except BrokenPipeError:
            raise
        except Exception as error:
            check_not_ending()  # else the interruption may have come out as an error of what was under way
            return self._tell(error, source, target)

    def _tell(self, error: Exception, source: Input, target: Path | None) -> Exit:
        match error:
            case UsageError() | StdoutError():
                self.console.error(str(error))
            case OutputError():
                self.console.error(f"{target or 'stdout'}: {error}")
            case MdtoolError() | EngineError() | ValueError():
                self.console.error(f"{source.name}: {error}")
            case MemoryError():
                self.console.error(f"{source.name}: needs more memory than there is")
            case _ if os.environ.get("MDTOOL_DEBUG"):
                raise error
            case _:  # a fault of ours or of a library, met on this input: the others go on
                self.console.error(f"{source.name}: unexpected {type(error).__name__}: {error} ({HOW_TO_SEE})")
        return error.code if isinstance(error, UsageError | OutputError) else Exit.SOME_FAILED

    def _redact(self, source: Input, target: Path | None) -> Exit:
        if self.targets.hold(source) or (target is not None and not self._is_free(source, target)):
            return Exit.OK
        run = Run(self.redaction, self.model, progress=self._progress)
        if self.recorded:
            run.recorded = RecordedFindings(self.recorded, source.name, by_name=not self.targets.many)
        if self.findings:
            name = self.model.name if self.model else "findings"
            run.findings = FindingsFile(self.findings, source.name, name, self.redaction.question.prompts)
        report = redact_input(source, target, self.targets.overwrite, run)
        self.console.done(report)
        if report.incomplete:
            self.console.error(f"{source.name}: is damaged: {report.incomplete}; the output holds what could be read")
            return Exit.SOME_FAILED
        return Exit.OK

    def _progress(self, report: Report, frames: int | None) -> None:
        check_not_ending()
        self.console.progress(report, frames)

    def _is_free(self, source: Input, target: Path) -> bool:
        """Whether the target is to be written. False: it was, by a run before."""
        if source.path and os.path.exists(target) and os.path.exists(source.path) and target.samefile(source.path):
            raise UsageError(f"{source.name}: would be written over itself; give another output than {target}")
        if target in self.taken:
            raise OutputError("is already the output of another input; give each a folder of its own")
        self.taken.add(target)
        if self.targets.many:
            if not self.targets.overwrite and os.path.lexists(target):
                self.console.note(f"{source.name}: passed over, for {target} exists already")
                return False
            _make_folder(target.parent)
        return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(cant_write(error)) from error
