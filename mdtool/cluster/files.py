"""Runs a command on each of many files, on the actors of a Ray cluster."""

import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from mdtool.cluster.pool import Lost, Pool
from mdtool.console import Console
from mdtool.errors import ExitCode, InputError
from mdtool.jobs.batch.messages import Redone
from mdtool.media.sources.inputs import find_inputs
from mdtool.media.video.part import Part, split_video
from mdtool.media.video.reader import VideoReader
from mdtool.model_selection import keep_models
from mdtool.pipeline.resume import MIN_SECONDS, seconds_of_file
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
    for outcome in _outcomes(pool, command, files, console):
        with suppress(OSError):  # stderr may be closed
            print(outcome.err, end="", file=sys.stderr, flush=True)
        if outcome.out:
            write_stdout(outcome.out.decode())
        codes.append(ExitCode(outcome.code))
    return codes


def run_parts(pool: Pool, command: Command, files: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Run a command once for each part of the long videos among files, so that `run_files` only has to join them.

    Args:
        pool: See `run_files`.
        command: See `run_files`; "part" in the values is a `Part`.
        files: See `run_files`.
        console: Where it is said what can't be split, and what went wrong: the run that joins does it then.
    """
    parts = [{**values, "part": part} for values in files for part in _split(values["inputs"][0], pool, console)]
    if parts:
        console.note(f"{len(parts)} parts of long videos")
    for outcome in _outcomes(pool, command, parts, console):
        if outcome.code:
            with suppress(OSError):  # stderr may be closed
                print(outcome.err, end="", file=sys.stderr, flush=True)


def _split(name: str, pool: Pool, console: Console) -> list[Part]:
    """Return the parts of a long video, and none of anything else."""
    [source] = find_inputs([name])
    if seconds_of_file(source) < MIN_SECONDS:
        return []
    assert source.path
    try:
        with VideoReader(source.path.absolute()) as reader:
            return split_video(reader, pool.share.actors)
    except (InputError, OSError) as error:
        console.note(f"{name}: is not split: {error}")
        return []


def _outcomes(pool: Pool, command: Command, files: Sequence[Mapping[str, Any]], console: Console) -> Iterator[_Outcome]:
    """Yield how the command has ended for each of the files, in order of completion."""
    for done in pool.run(_FilesSetup(command), [[values] for values in files]):
        match done:
            case None:
                pass
            case Redone(items=items):
                console.note(f"{items} files or parts are run again, since their process was lost")
            case Lost(items=lost, tries=tries):
                for values in lost:
                    named = f"{values['inputs'][0]}{_part_name(values)}"
                    message = f"mdtool: {named}: its process ended without a result; tries: {tries}\n"
                    yield _Outcome(ExitCode.SOME_FAILED, b"", message)
            case _:
                yield from done


def _part_name(values: Mapping[str, Any]) -> str:
    return f", part {values['part'].number}" if "part" in values else ""
