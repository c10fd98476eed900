"""`mdtool bench`: how fast this machine does a job."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ComputingOptions, model_names
from mdtool.cli.options.printing import Verbose
from mdtool.errors import UsageError
from mdtool.stdout import write_json_record, write_stdout

app = typer.Typer(help="Measure how fast this machine does a job.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    if sys.platform == "win32":
        raise UsageError("bench does not run on Windows, which does not tell what a process took as POSIX does")


Clip = Annotated[Path, typer.Argument(help="A video.", exists=True, dir_okay=False)]
Rest = Annotated[list[str], typer.Argument(help="Options for the command that is measured.", metavar="[-- OPTIONS]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print every run, as JSON.")]
PASSED_ON = {"ignore_unknown_options": True}


@dataclass(frozen=True)
class ProcessOptions:
    """Of what is measured as whole processes."""

    clip: Clip
    arguments: Rest = field(default_factory=list)
    runs: Annotated[int, typer.Option(min=1, help="How often each command runs.")] = 3
    frames: Annotated[int | None, typer.Option(min=1, help="Play the clip over and over, to this many frames.")] = None
    json: AsJson = False


@app.command("redact", context_settings=PASSED_ON)
@grouped
def bench_redact(*, processes: ProcessOptions) -> None:
    """Whole processes in turn: redact, a plain transcode with the same encoder settings, and deface if installed."""
    _bench_recipe("redact", processes)


@app.command("moderate", context_settings=PASSED_ON)
@grouped
def bench_moderate(*, processes: ProcessOptions) -> None:
    """Whole processes in turn: moderate, and a plain transcode with the same encoder settings.

    mdtool bench moderate in.mp4 --frames 108000 --runs 1 -- -p face --action blur
    """
    _bench_recipe("moderate", processes)


def _bench_recipe(recipe: str, process_options: ProcessOptions) -> None:
    from mdtool.jobs.bench import recipe as job

    timings = job.bench_recipe(
        recipe,
        process_options.clip,
        process_options.arguments,
        runs=process_options.runs,
        frames=process_options.frames,
    )
    if process_options.json:
        report = {
            **job.machine(),
            "clip": process_options.clip.name,
            "frames": process_options.frames,
            "runs": [t.as_dict() for t in timings],
        }
        write_json_record(report)
    else:
        write_stdout("\n".join(job.table(timings)) + "\n")


@app.command("live", context_settings=PASSED_ON)
def bench_live(
    *,
    clip: Clip,
    arguments: Rest = [],
    seconds: Annotated[float, typer.Option(min=1, help="How long it plays.")] = 120,
    size: Annotated[str, typer.Option(help="Pixels, WIDTHxHEIGHT.")] = "1280x720",
    rate: Annotated[int, typer.Option(min=1, max=240, help="Pictures a second.")] = 30,
    json: AsJson = False,
) -> None:
    """How long after it was filmed a picture comes out of a live redaction: a clip plays over and over."""
    from dataclasses import asdict

    from mdtool.cli.values import parsed
    from mdtool.jobs.bench import live as job
    from mdtool.jobs.bench.recipe import machine

    delays = job.bench_live(clip, arguments, seconds=seconds, size=parsed("--size", _size, size), rate=rate)
    if json:
        write_json_record({**machine(), "clip": clip.name, **asdict(delays)})
    else:
        write_stdout("\n".join(job.table(delays)) + "\n")


def _size(text: str) -> tuple[int, int]:
    """From "1280x720". Raises ValueError."""
    numbers = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
    if not numbers:
        raise ValueError(f"{text!r} is no size; give width and height in pixels, such as 1280x720")
    return int(numbers[1]), int(numbers[2])


@app.command("batch")
def bench_batch(
    *,
    photo: Annotated[Path, typer.Argument(help="The photo that is made into many.")],
    pictures: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    size: Annotated[str, typer.Option(help="Pixels, WIDTHxHEIGHT.")] = "1632x1224",
    json: AsJson = False,
) -> None:
    """How fast thousands of pictures are read and recorded, round a model that takes no time."""
    from dataclasses import asdict

    from mdtool.cli.values import parsed
    from mdtool.jobs.bench import batch as job
    from mdtool.jobs.bench.recipe import machine

    timing = job.bench_batch(photo, pictures, parsed("--size", _size, size))
    if json:
        write_json_record({**machine(), **asdict(timing)})
    else:
        write_stdout("\n".join(job.table(timing)) + "\n")


@app.command("model")
@grouped
def bench_model(
    *,
    model: Annotated[
        str | None,
        typer.Option(help="A name from `mdtool models list` that is here, or a path.", autocompletion=model_names),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="A published config, for --random-weights; it goes before --model.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Weights of the config's shapes, never trained: as fast, no use.")
    ] = False,
    computing: ComputingOptions,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="How often each step runs, after once to warm up.")] = 3,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Measure what a cache of encoded pictures on disk saves, in place of the steps."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """One model, step by step: vision, prefill, decode, whole captions and detections, memory."""
    from contextlib import nullcontext
    from dataclasses import asdict

    from mdtool.console import Console
    from mdtool.jobs.bench import model as job
    from mdtool.model_selection import LoadCallbacks, model_errors

    if (config is not None) != random_weights or (config is None and model is None):
        raise UsageError("say which model: --model NAME or PATH, or --config NAME --random-weights")
    callbacks = LoadCallbacks(explain=Console(verbose=verbose).explain)
    with model_errors(), job.random_checkpoint(config) if config else nullcontext(model) as name:
        timings = job.bench_model(str(name), computing.computing, callbacks, batch=batch, runs=runs, cache=cache)
    if json:
        write_json_record(asdict(timings))
    else:
        write_stdout("\n".join(job.table(timings)) + "\n")
