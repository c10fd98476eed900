"""Runs a command on each of many files, on the actors of a Ray cluster."""

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from mdtool.cluster.pool import Lost, Pool
from mdtool.console import Console
from mdtool.errors import ExitCode
from mdtool.jobs.batch.messages import Redone
from mdtool.model_selection import keep_models
from mdtool.stdout import write_stdout

Command = Callable[[Mapping[str, Any]], int]


@dataclass(frozen=True)
class _Outcome:
    """How a command has ended, and what it wrote."""

    code: int
    out: bytes
    err: str


@dataclass(frozen=True)
class _FilesSetup:
    """What an actor needs."""

    command: Command

    def start(self) -> Callable[[Sequence[Mapping[str, Any]]], list[_Outcome]]:
        """Return what runs the command; models stay loaded from one file to the next."""
        keep_models()
        return lambda items: [self._run(values) for values in items]

    def _run(self, values: Mapping[str, Any]) -> _Outcome:
        out, err = io.BytesIO(), io.StringIO()
        with redirect_stdout(io.TextIOWrapper(out, "utf-8", write_through=True)), redirect_stderr(err):
            code = self.command(values)
            return _Outcome(code, out.getvalue(), err.getvalue())


def run_files(pool: Pool, command: Command, files: Sequence[Mapping[str, Any]], console: Console) -> list[ExitCode]:
    """Run a command once for each file.

    Args:
        pool: The actors.
        command: Takes the values of its options, and returns the exit code; a function of a module.
        files: The values for each file; "inputs" names it.
        console: Where it is said that a file was lost or run again.

    Returns:
        The exit codes, in order of completion. What the command wrote goes to this process's stdout and stderr.
    """
    codes: list[ExitCode] = []
    for done in pool.run(_FilesSetup(command), [[values] for values in files]):
        match done:
            case None:
                pass
            case Redone(items=items):
                console.note(f"{items} files are run again, since their process was lost")
            case Lost(items=lost, tries=tries):
                for values in lost:
                    console.error(f"{values['inputs'][0]}: its process ended without a result; tries: {tries}")
                    codes.append(ExitCode.SOME_FAILED)
            case _:
                for outcome in done:
                    with suppress(OSError):  # stderr may be closed
                        print(outcome.err, end="", file=sys.stderr, flush=True)
                    if outcome.out:
                        write_stdout(outcome.out.decode())
                    codes.append(ExitCode(outcome.code))
    return codes
