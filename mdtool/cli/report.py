"""`mdtool report`: findings as a page to look at."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    findings: Annotated[
        Path, typer.Argument(help="A file of findings, or - for stdin.", metavar="FINDINGS", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="A file, or - for stdout. Default: NAME.html beside the findings."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Make of findings one page of HTML: timelines, example frames, heat maps and counts. It needs no network.

    mdtool report found.jsonl                                to found.html

    mdtool detect in.mp4 face --jsonl - | mdtool report - -o report.html
    """
    from mdtool.console import Console
    from mdtool.jobs.report.write_report import report_target, write_report

    target = report_target(findings, output)
    chapters = write_report(findings, target, overwrite)
    console = Console(quiet)
    for chapter in chapters:
        if chapter.input_changed:
            console.note(
                f"{chapter.source}: has changed since the findings were made, so it has no images; detect again"
            )
    frames = sum(len(chapter.examples) for chapter in chapters)
    inputs = f"{len(chapters)} input{'s' * (len(chapters) != 1)}"
    console.note(f"{target or 'stdout'}: {inputs}, {frames} example frame{'s' * (frames != 1)}")
