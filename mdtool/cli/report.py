"""`mdtool report`: an HTML report on findings."""

from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.outputs import Overwrite
from mdtool.cli.options.printing import Quiet


def report(
    findings: Annotated[
        Path, typer.Argument(help="Findings file, or - for stdin.", metavar="FINDINGS", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Output file, or - for stdout. Default: NAME.html next to the findings.",
            metavar="FILE|-",
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Build a self-contained HTML report from findings.

    It has timelines, example frames, heatmaps and counts. With -o - it goes to stdout.

    \b
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
