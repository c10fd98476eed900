"""`mdtool bench`: how fast this machine does a job."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure how fast this machine does a job.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    pass


@app.command("redact", context_settings={"ignore_unknown_options": True})
def bench_redact(
    clip: Annotated[Path, typer.Argument(help="A video.", exists=True, dir_okay=False)],
    options: Annotated[list[str], typer.Argument(help="Options for redact.", metavar="[-- OPTIONS]")] = [],
    runs: Annotated[int, typer.Option(min=1, help="How often each command runs.")] = 3,
    frames: Annotated[int | None, typer.Option(min=1, help="Play the clip over and over, to this many frames.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every run, as JSON.")] = False,
) -> None:
    """Whole processes in turn: redact, a plain transcode with the same encoder settings, and deface if installed."""
    from mdtool.jobs import bench_redact as job

    timings = job.bench_redact(clip, runs, frames, options)
    if json:
        report = {**job.machine(), "clip": clip.name, "frames": frames, "runs": [t.as_dict() for t in timings]}
        typer.echo(json_module.dumps(report))
    else:
        typer.echo("\n".join(job.table(timings)))
