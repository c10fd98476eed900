"""Runs a job on each input: an error is reported, the other inputs continue, and the exit code reflects it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

from engine.contract import EngineError, ModelUnavailable
from mdtool.console import Console
from mdtool.errors import (
    ExitCode,
    InputError,
    LibraryFault,
    MdtoolError,
    OutputError,
    UsageError,
    library_faults,
    without_objects,
)
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.jobs.crash_journal import CrashJournal
from mdtool.media.sources.inputs import Input
from mdtool.records.run_report import Report

DEBUG_HINT = "MDTOOL_DEBUG=1 shows where"
JOURNAL = ".mdtool-journal"  # in the folder of the outputs, while a run lasts
EXPECTED_ERRORS = (MdtoolError, EngineError, ValueError, MemoryError)


def each_input(
    sources: Sequence[Input], work: Callable[[Input], ExitCode], console: Console, folder: Path | None = None
) -> ExitCode:
    """Run `work` on each input.

    Args:
        sources: The inputs.
        work: Processes one, and returns its exit code.
        console: Where errors are printed.
        folder: That of the outputs, where the input at work is noted if there are several; None for nowhere.

    Returns:
        The code of a single input; else SOME_FAILED if any failed, or FOUND if any returned it.

    Raises:
        ModelUnavailable: The weights are damaged, whatever the input.
    """
    with CrashJournal(folder / JOURNAL if folder and len(sources) > 1 else None) as journal:
        return joint_code([_attempt(source, work, console, journal) for source in sources])


def joint_code(codes: Sequence[ExitCode]) -> ExitCode:
    """Return the code of a run whose inputs have these; see `each_input`."""
    failures = {code for code in codes if code not in (ExitCode.OK, ExitCode.FOUND)}
    if failures:
        return failures.pop() if len(codes) == 1 else ExitCode.SOME_FAILED
    return max(codes, default=ExitCode.OK)


def _attempt(source: Input, work: Callable[[Input], ExitCode], console: Console, journal: CrashJournal) -> ExitCode:
    """Run `work` on one input; report an error and return its exit code."""
    try:
        with deferred_interrupts(), library_faults():
            if crash := journal.crash_of(source):
                raise InputError(crash)
            if source.failed:
                raise InputError(source.failed)
            with journal.working(source):
                return work(source)
    except (BrokenPipeError, ModelUnavailable):  # which end all inputs
        raise
    except Exception as error:
        raise_if_interrupted()  # an interruption may surface as an error of the library that it hit
        return _report_error(error, source, console)


def _report_error(error: Exception, source: Input, console: Console) -> ExitCode:
    if isinstance(error, UsageError | OutputError):
        console.error(str(error))
        return error.code
    if not isinstance(error, EXPECTED_ERRORS) and os.environ.get("MDTOOL_DEBUG"):
        raise error
    console.error(f"{source.name}: {error_message(error)}")
    return ExitCode.SOME_FAILED


def error_message(error: Exception) -> str:
    """Return why an input failed, in one line, for expected and unexpected errors."""
    if isinstance(error, MemoryError):
        return "out of memory; give a smaller input, or free memory"
    if isinstance(error, EXPECTED_ERRORS):
        return str(error)
    what = str(error) if isinstance(error, LibraryFault) else f"{type(error).__name__}: {error}"
    return f"unexpected {without_objects(what)} ({DEBUG_HINT})"


def progress_reporter(console: Console, done: str = "") -> Callable[[Report, int | None], None]:
    """Return a callback that shows the progress of an input; it raises KeyboardInterrupt after an interruption.

    Args:
        console: Where to show it.
        done: What is done with the frames, such as "verified"; empty: objects and model calls are shown.
    """

    def progress(report: Report, frames: int | None) -> None:
        raise_if_interrupted()
        counts = done or f"{len(report.tracks)} objects, {report.keyframes} model calls"
        console.progress(report.source, report.frames, frames, counts)

    return progress


def report_result(report: Report, console: Console, *, hides: bool = True) -> ExitCode:
    """Print the summary of one input, and return its exit code.

    Args:
        report: The run report of the input.
        console: Where to print.
        hides: Whether the job is there to hide something.
    """
    summarise(report, console)
    if report.incomplete:
        made = what_was_made(report, hides) or "what could be read was analysed"
        console.error(f"{report.source}: {report.incomplete}; {made}")
        return ExitCode.SOME_FAILED
    return ExitCode.OK


def what_was_made(report: Report, hides: bool) -> str:
    """Return what became of an input that could be read only in part; empty if no output was written."""
    if ".incomplete" in PurePath(report.target).suffixes:
        warning = ", where what should be hidden may show" if hides else ""
        return f"what could be read is in {report.target}{warning}"
    return "the output holds what could be read" if report.target else ""


def summarise(report: Report, console: Console, record: dict[str, Any] | None = None) -> None:
    """Print the notes and the summary of one input.

    Args:
        report: The run report of the input.
        console: Where to print.
        record: The JSON summary for stdout, if the console writes JSON; None: the report's own.
    """
    for note in dict.fromkeys(report.notes):
        console.note(f"{report.source}: {note}")
    console.summary(report.lines(), report.as_dict() if record is None else record)
