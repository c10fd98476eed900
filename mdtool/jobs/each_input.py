"""Works on every input there is: one that fails is told and passed over, and shows in the exit code."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from engine.contract import EngineError
from mdtool.console import Console
from mdtool.errors import Exit, MdtoolError, OutputError, UsageError
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.media.sources.inputs import Input
from mdtool.records.run_report import Report

DEBUG_HINT = "MDTOOL_DEBUG=1 shows where"
EXPECTED_ERRORS = (MdtoolError, EngineError, ValueError, MemoryError)


def each_input(sources: Iterable[Input], work: Callable[[Input], Exit], console: Console) -> Exit:
    """The code of the only input, else SOME_FAILED if any failed, else FOUND if that came of any."""
    codes = [_attempt(source, work, console) for source in sources]
    failures = {code for code in codes if code not in (Exit.OK, Exit.FOUND)}
    if failures:
        return failures.pop() if len(codes) == 1 else Exit.SOME_FAILED
    return max(codes, default=Exit.OK)


def _attempt(source: Input, work: Callable[[Input], Exit], console: Console) -> Exit:
    """One input; its failure is told, and returned as an exit code."""
    try:
        with deferred_interrupts():
            return work(source)
    except BrokenPipeError:
        raise
    except Exception as error:
        raise_if_interrupted()  # else the interruption may have come out as an error of what was under way
        return _tell(error, source, console)


def _tell(error: Exception, source: Input, console: Console) -> Exit:
    if isinstance(error, UsageError | OutputError):
        console.error(str(error))
        return error.code
    if not isinstance(error, EXPECTED_ERRORS) and os.environ.get("MDTOOL_DEBUG"):
        raise error
    console.error(f"{source.name}: {error_message(error)}")
    return Exit.SOME_FAILED


def error_message(error: Exception) -> str:
    """Why an input failed, in one line; be it a fault of ours or of a library, the others go on."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, EXPECTED_ERRORS):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} ({DEBUG_HINT})"


def progress_reporter(console: Console) -> Callable[[Report, int | None], None]:
    """What is told now and then how far an input is: shows it. KeyboardInterrupt if the person has interrupted."""

    def progress(report: Report, frames: int | None) -> None:
        raise_if_interrupted()
        counts = f"{len(report.tracks)} objects, {report.keyframes} looks"
        console.progress(report.source, report.frames, frames, counts)

    return progress


def report_result(report: Report, console: Console) -> Exit:
    """Tells what was done."""
    summarise(report, console)
    if report.incomplete:
        console.error(f"{report.source}: {report.incomplete}; the output holds what could be read")
        return Exit.SOME_FAILED
    return Exit.OK


def summarise(report: Report, console: Console, record: dict[str, Any] | None = None) -> None:
    """Tell what was done to one input. record: what goes to stdout if summaries do; None: the report's own."""
    for note in dict.fromkeys(report.notes):
        console.note(f"{report.source}: {note}")
    console.summary(report.lines(), report.as_dict() if record is None else record)
