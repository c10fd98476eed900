"""`mdtool bench`: how fast this machine does a job."""

from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli import options
from mdtool.errors import UsageError
from mdtool.stdout import put, put_record

app = typer.Typer(help="Measure how fast this machine does a job.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    pass


@app.command("redact", context_settings={"ignore_unknown_options": True})
def bench_redact(
    clip: Annotated[Path, typer.Argument(help="A video.", exists=True, dir_okay=False)],
    arguments: Annotated[list[str], typer.Argument(help="Options for redact.", metavar="[-- OPTIONS]")] = [],
    runs: Annotated[int, typer.Option(min=1, help="How often each command runs.")] = 3,
    frames: Annotated[int | None, typer.Option(min=1, help="Play the clip over and over, to this many frames.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every run, as JSON.")] = False,
) -> None:
    """Whole processes in turn: redact, a plain transcode with the same encoder settings, and deface if installed."""
    from mdtool.jobs.measure import bench_redact as job

    timings = job.bench_redact(clip, runs, frames, arguments)
    if json:
        report = {**job.machine(), "clip": clip.name, "frames": frames, "runs": [t.as_dict() for t in timings]}
        put_record(report)
    else:
        put("\n".join(job.table(timings)) + "\n")


@app.command("model")
def bench_model(
    model: Annotated[
        str | None,
        typer.Option(
            help="A name from `mdtool models list` that is here, or a path.", autocompletion=options.model_names
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="A published config, for --random-weights; it goes before --model.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Weights of the config's shapes, never trained: as fast, no use.")
    ] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model with torch.compile.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="How often each step runs, after once to warm up.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
) -> None:
    """One model, step by step: vision, prefill, decode, whole captions and detections, memory."""
    from contextlib import nullcontext
    from dataclasses import asdict

    from mdtool.choice import model_errors
    from mdtool.jobs.measure import bench_model as job

    if (config is not None) != random_weights or (config is None and model is None):
        raise UsageError("say which model: --model NAME or PATH, or --config NAME --random-weights")
    with model_errors(), job.random_checkpoint(config) if config else nullcontext(model) as name:
        timings = job.bench_model(str(name), device, dtype, compile, batch, runs)
    if json:
        put_record(asdict(timings))
    else:
        put("\n".join(job.table(timings)) + "\n")
