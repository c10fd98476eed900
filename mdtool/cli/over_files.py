"""Commands that write a copy of each file, over the files of many machines."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mdtool.cli.options.cluster import FilesOnClusterOptions
from mdtool.cli.options.grouped import options_of
from mdtool.errors import ExitCode, MdtoolError, UsageError

if TYPE_CHECKING:
    from mdtool.media.video.part import Part

PART = "part"  # in the values of a command that runs on an actor
# What would be one file for all inputs, or comes from a pipe.
EXCLUDED = ("findings", "from_findings", "jsonl", "heatmap", "report", "dry_run", "preview")
# What counts over the whole video, or keeps no work next to an output.
UNSPLIT = {"start": "--from", "end": "--to", "max_calls": "--max-calls", "report_only": "--report-only"}
NAMES = [one.name for one in fields(FilesOnClusterOptions)]


class _NoContext:
    """Stands for the context of a command that runs for one of many files: no option is known to be a default.

    Attributes:
        meta: See `part_of`.
    """

    def __init__(self, part: "Part | None") -> None:
        self.meta = {PART: part}

    def get_parameter_source(self, name: str) -> None:
        """Return where an option comes from."""


def part_of(ctx: typer.Context) -> "Part | None":
    """Return the part of a video that a command is run on; None for the whole."""
    part: Part | None = ctx.meta.get(PART)
    return part


def over_files(mark: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds --ray to a command; with it, an actor runs the command on each file.

    Args:
        mark: In the names of the copies by default, such as "redacted".
    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: Any) -> None:
            cluster = FilesOnClusterOptions(**{name: values.pop(name) for name in NAMES})
            cluster.check()
            if cluster.ray is None:
                command(**values)
            else:
                raise typer.Exit(_run_on_cluster(command, mark, values, cluster))

        signature = inspect.signature(command)
        parameters = [*signature.parameters.values(), *options_of(FilesOnClusterOptions)]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorated


def _run_on_cluster(
    command: Callable[..., None], mark: str, values: Mapping[str, Any], cluster: FilesOnClusterOptions
) -> ExitCode:
    from mdtool.cli.values import check_exclusive
    from mdtool.cluster.files import run_files, run_parts
    from mdtool.console import Console
    from mdtool.jobs.each_input import each_input, joint_code
    from mdtool.media.sources.inputs import Input, find_inputs
    from mdtool.pipeline.targets import Targets, is_many

    inputs, output = values["inputs"], values["output"]
    check_exclusive("--ray", {f"--{name.replace('_', '-')}": values.get(name) for name in EXCLUDED})
    if cluster.split:
        check_exclusive("--split", {option: values.get(name) for name, option in UNSPLIT.items()})
    if "-" in (*inputs, output):
        raise UsageError("-: other machines have no pipe to this one; give files")
    console = Console(values["quiet"])
    sources = find_inputs(inputs, console.note)
    targets = Targets(output, f".{mark}", is_many(sources, inputs), values["overwrite"], sources)
    common = {name: value for name, value in values.items() if name != "ctx"}
    files = []

    def plan(source: Input) -> ExitCode:
        """Add a file whose copy is not there yet."""
        named = common | {"inputs": [source.named or str(source.path)]}
        if values.get("report_only"):
            files.append(named)
            return ExitCode.OK
        target = targets.file_for(source)
        if targets.take(source, target, console):
            files.append(named | {"output": str(target)})
        return ExitCode.OK

    planned = each_input(sources, plan, console)
    if not files:
        return planned
    with cluster.connected(values["device"]) as pool:
        console.note(f"actors on Ray: {pool.share}")
        named = _Named(command.__module__, command.__name__)
        if cluster.split:
            run_parts(pool, named, files, console)
        codes = run_files(pool, named, files, console)
    return joint_code([*codes, *([planned] if planned else [])])


class _Named:
    """A command by the name of its module, so that it can be pickled: runs it, and returns the exit code."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, values: Mapping[str, Any]) -> int:
        from mdtool.jobs.each_input import error_message

        command = getattr(import_module(self._module), self._name)
        cluster = dict.fromkeys(NAMES)
        values = dict(values)
        context = _NoContext(values.pop(PART, None))
        try:
            command(**values, **cluster, ctx=context)
        except typer.Exit as end:
            return end.exit_code
        except MdtoolError as error:
            print(f"mdtool: {error}", file=sys.stderr)
            return error.code
        except Exception as error:
            print(f"mdtool: {Path(values['inputs'][0])}: {error_message(error)}", file=sys.stderr)
            return ExitCode.SOME_FAILED
        return ExitCode.OK
