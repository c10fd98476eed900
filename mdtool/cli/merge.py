"""`mdtool merge`: join the records of shards."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.printing import Quiet


def merge(
    out: Annotated[
        Path, typer.Argument(help="File for all records; one of an earlier merge is continued.", show_default=False)
    ],
    parts: Annotated[
        list[Path],
        typer.Argument(help="The files of all shards, each run to its end.", metavar="IN...", show_default=False),
    ],
    quiet: Quiet = False,
) -> None:
    """Join the records that runs with --shard have written in one file.

    Nothing is written if a shard is missing or not at its end, if an input is there twice, or if settings differ. The
    file can be resumed and exported like that of a single run.

    \b
    mdtool caption ./photos --jsonl part-3.jsonl --shard 3/16
    mdtool merge captions.jsonl part-*.jsonl
    """
    from mdtool.console import Console
    from mdtool.errors import ExitCode, MdtoolError, UsageError
    from mdtool.jobs.batch.merge import check_shards, merge_shards

    console = Console(quiet)
    if any(os.path.exists(out) and os.path.exists(part) and out.samefile(part) for part in parts):
        raise UsageError(f"{out}: is the first argument, which names the file to write, and a shard too")
    if faults := check_shards(parts):
        for fault in faults[:-1]:
            console.error(fault)
        raise MdtoolError(faults[-1])
    counts = merge_shards(out, parts)
    summary = [f"{counts.added} input{'s' * (counts.added != 1)} merged"]
    summary += [f"{counts.failed} of them had failed"] if counts.failed else []
    summary += [f"{counts.skipped} already there"] if counts.skipped else []
    console.note(f"{out}: {', '.join(summary)}")
    raise typer.Exit(ExitCode.SOME_FAILED if counts.failed else ExitCode.OK)
