"""`mdtool bench`: speed on this machine."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ComputingOptions, model_names
from mdtool.cli.options.outputs import Overwrite
from mdtool.cli.options.printing import Verbose
from mdtool.errors import UsageError
from mdtool.escaping import one_line
from mdtool.stdout import write_json_record, write_stdout

WeightsName = Annotated[
    str | None,
    typer.Option(
        help="A name from `mdtool models list`, or a path to weights.", metavar="NAME|PATH", autocompletion=model_names
    ),
]
app = typer.Typer(help="Benchmark speed on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Refuse to run where the system does not report what a process used."""
    if sys.platform == "win32":
        raise UsageError(
            "bench does not run on Windows, which does not report the CPU time and memory of a process as POSIX does"
        )


Clip = Annotated[Path, typer.Argument(help="A video.", exists=True, dir_okay=False, metavar="CLIP")]
Rest = Annotated[list[str], typer.Argument(help="Options of the measured command.", metavar="[-- OPTIONS]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print every run as JSON.")]
PASSED_ON = {"ignore_unknown_options": True}


@dataclass(frozen=True)
class ProcessOptions:
    """Options of benchmarks that time whole processes."""

    clip: Clip
    arguments: Rest = field(default_factory=list)
    runs: Annotated[int, typer.Option(min=1, help="Number of runs of each command.", metavar="N")] = 3
    frames: Annotated[int | None, typer.Option(min=1, help="Loop the clip to this many frames.", metavar="N")] = None
    json: AsJson = False


@app.command("redact", context_settings=PASSED_ON)
@grouped
def bench_redact(*, processes: ProcessOptions) -> None:
    """Time redact, a plain transcode with the same encoder settings, and deface if installed.

    Each runs as a process of its own. Prints a table.

    \b
    mdtool bench redact in.mp4 --runs 5 -- --sample every
    """
    _bench_recipe("redact", processes)


@app.command("moderate", context_settings=PASSED_ON)
@grouped
def bench_moderate(*, processes: ProcessOptions) -> None:
    """Time moderate, and a plain transcode with the same encoder settings.

    Each runs as a process of its own. Prints a table.

    \b
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
        write_stdout("\n".join(map(one_line, job.table(timings))) + "\n")


@app.command("live", context_settings=PASSED_ON)
def bench_live(
    *,
    clip: Clip,
    arguments: Rest = [],
    duration: Annotated[
        str, typer.Option(help="Play the clip in a loop for this long (90, 10m).", metavar="TIME")
    ] = "120",
    size: Annotated[str, typer.Option(help="Frame size in pixels.", metavar="WIDTHxHEIGHT")] = "1280x720",
    fps: Annotated[int, typer.Option(min=1, max=240, help="Frames per second.", metavar="N")] = 30,
    json: AsJson = False,
) -> None:
    """Measure the latency of a live redaction, from the camera's frame to the redacted one.

    Prints a table.

    \b
    mdtool bench live in.mp4 --duration 60 --fps 25
    """
    from dataclasses import asdict

    from mdtool.cli.values import parse_positive_seconds, parsed
    from mdtool.jobs.bench import live as job
    from mdtool.jobs.bench.recipe import machine

    length, pixels = parse_positive_seconds("--duration", duration), parsed("--size", _size, size)
    delays = job.bench_live(clip, arguments, seconds=length, size=pixels, rate=fps)
    if json:
        write_json_record({**machine(), "clip": clip.name, **asdict(delays)})
    else:
        write_stdout("\n".join(map(one_line, job.table(delays))) + "\n")


def _size(text: str) -> tuple[int, int]:
    """Parse a size such as "1280x720". Raises ValueError."""
    numbers = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
    if not numbers:
        raise ValueError(f"{text!r} is not a size; give width and height in pixels, such as 1280x720")
    return int(numbers[1]), int(numbers[2])


@app.command("batch")
def bench_batch(
    *,
    image: Annotated[Path, typer.Argument(help="Image to make copies of.", metavar="IMAGE")],
    images: Annotated[int, typer.Option(min=1, help="Number of copies.", metavar="N")] = 1000,
    size: Annotated[str, typer.Option(help="Frame size in pixels.", metavar="WIDTHxHEIGHT")] = "1632x1224",
    json: AsJson = False,
) -> None:
    """Measure how fast a batch reads images and writes records, with a null model.

    Prints a table.

    \b
    mdtool bench batch photo.jpg --images 1000
    """
    from dataclasses import asdict

    from mdtool.cli.values import parsed
    from mdtool.jobs.bench import batch as job
    from mdtool.jobs.bench.recipe import machine

    timing = job.bench_batch(image, images, parsed("--size", _size, size))
    if json:
        write_json_record({**machine(), **asdict(timing)})
    else:
        write_stdout("\n".join(map(one_line, job.table(timing))) + "\n")


@app.command("model")
@grouped
def bench_model(
    *,
    model: WeightsName = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Published model config, for --random-weights; overrides --model. Qwen3-VL as GGUF: NAME:q4_k_m.",
            metavar="NAME[:TYPE]",
        ),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Use random weights of the config's shapes: same speed, no download."),
    ] = False,
    computing: ComputingOptions,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.", metavar="N")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each step, after a warm-up.", metavar="N")] = 3,
    embedding_cache: Annotated[
        bool,
        typer.Option("--embedding-cache", help="Measure what the embedding cache saves, instead of the steps."),
    ] = False,
    beside: Annotated[
        Literal["llama.cpp"] | None,
        typer.Option(
            help="Time another engine in turn: llama.cpp, on the same GGUF file or on random Q4_0 of the shape."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Measure a Moondream or LFM2-VL step by step: vision encoder, prefill, decode, whole answers, memory.

    Prints a table.

    \b
    mdtool bench model --model pocket
    mdtool bench model --config lfm2-vl-450m --random-weights --quantize int4
    mdtool bench model --config moondream2 --random-weights --quantize int8
    mdtool bench model --config moondream2 --random-weights --quantize int4 --beside llama.cpp
    mdtool bench model --model qwen3-vl-8b-q4_k_m.gguf --device cpu --beside llama.cpp
    """
    from contextlib import nullcontext
    from dataclasses import asdict

    from mdtool.console import Console
    from mdtool.jobs.bench import model as job
    from mdtool.jobs.bench.llama_cpp import check_llama_cpp
    from mdtool.jobs.bench.model_timings import table
    from mdtool.model_selection import LoadCallbacks, model_errors

    if (config is not None) != random_weights or (config is None and model is None):
        raise UsageError("no model: give --model NAME|PATH, or --config NAME with --random-weights")
    if beside and embedding_cache:
        raise UsageError("--beside times steps, which --embedding-cache leaves out: give one of them")
    if beside:
        with model_errors():
            check_llama_cpp(computing.device, batch_size)
    callbacks = LoadCallbacks(explain=Console(verbose=verbose).explain)
    with model_errors(), job.random_checkpoint(config) if config else nullcontext(model) as name:
        timings = job.bench_model(
            str(name), computing.computing, callbacks,
            batch=batch_size, runs=runs, cache=embedding_cache, beside=beside,
        )  # fmt: skip
    if json:
        write_json_record(asdict(timings))
    else:
        write_stdout("\n".join(map(one_line, table(timings))) + "\n")


@app.command("dial")
@grouped
def bench_dial(
    *,
    image: Annotated[Path, typer.Argument(help="An image.", metavar="IMAGE")],
    model: WeightsName = None,
    config: Annotated[
        str | None, typer.Option(help="Published model config, to be timed with random weights.", metavar="NAME")
    ] = None,
    computing: ComputingOptions,
    tokens: Annotated[
        str, typer.Option(help="Values of --max-image-tokens to measure.", metavar="N,N,...")
    ] = "32,64,128,256,512,1024",
    answer_tokens: Annotated[int, typer.Option(min=2, help="Length of the answer.", metavar="N")] = 60,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each measurement, after a warm-up.", metavar="N")] = 3,
    scenes: Annotated[
        int, typer.Option(min=0, help="Measure quality on this many drawn scenes too (pocket).", metavar="N")
    ] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw tokens against time and quality into this PNG file.", metavar="FILE")
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure what fewer image tokens save: tokens, time to the first and to the last token, and quality.

    A model with images of any size is measured at several values of --max-image-tokens, another at each --detail.
    Prints a table, and the time to the first token as a bar chart.

    \b
    mdtool bench dial photo.jpg --config lfm2-vl-450m --plot dial.png
    mdtool bench dial scene.png --model pocket --scenes 20
    """
    from contextlib import ExitStack, nullcontext
    from dataclasses import asdict

    from mdtool.cli.values import parsed
    from mdtool.console import Console
    from mdtool.errors import output_errors_for
    from mdtool.jobs.bench import dial as job
    from mdtool.jobs.bench.dial_plot import plot as draw_plot
    from mdtool.jobs.bench.model import random_checkpoint
    from mdtool.jobs.bench.recipe import machine
    from mdtool.media.files.atomic_file import AtomicFile
    from mdtool.media.image.image_input import to_rgb
    from mdtool.model_selection import LoadCallbacks, model_errors

    if (config is None) == (model is None):
        raise UsageError("give --model NAME|PATH, or --config NAME for random weights")
    if plot and plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {plot}: the plot is a PNG file; let its name end in .png")
    limits, pixels = parsed("--tokens", _counts, tokens), to_rgb(image)
    callbacks = LoadCallbacks(explain=Console(verbose=verbose).explain)
    with ExitStack() as stack:
        if plot:
            with output_errors_for(plot):  # so that a plot which can't be written ends the run at once
                file = stack.enter_context(AtomicFile(plot, overwrite))
        with model_errors(), random_checkpoint(config) if config else nullcontext(model) as name:
            points = job.bench_dial(
                str(name), pixels, computing.computing, callbacks,
                tokens=limits, answer_tokens=answer_tokens, runs=runs, scenes=scenes,
            )  # fmt: skip
        if plot:
            with output_errors_for(plot):
                draw_plot(points, answer_tokens, Path(str(name)).name).save(file.part, "PNG")
                file.commit()
    if json:
        write_json_record({**machine(), "image": image.name, "points": [asdict(point) for point in points]})
    else:
        write_stdout("\n".join(map(one_line, job.table(points, answer_tokens))) + "\n")


@app.command("serve")
@grouped
def bench_serve(
    *,
    model: WeightsName = None,
    config: Annotated[
        str | None, typer.Option(help="Published model config, to be measured with random weights.", metavar="NAME")
    ] = None,
    computing: ComputingOptions,
    parts: Annotated[
        str,
        typer.Option(
            help="What to measure, of: gap, overhead, throughput, questions, disconnect, memory, faults, "
            "drain. Default: all.",
            metavar="PART,PART,...",
            show_default=False,
        ),
    ] = "gap,overhead,throughput,questions,disconnect,memory,faults,drain",
    clients: Annotated[int, typer.Option(min=1, help="Clients that ask at the same time.", metavar="N")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Captions of each client.", metavar="N")] = 2,
    pictures: Annotated[int, typer.Option(min=4, help="Distinct pictures, for memory.", metavar="N")] = 2000,
    requests: Annotated[int, typer.Option(min=1, help="Requests, for faults.", metavar="N")] = 10_000,
    size: Annotated[int, typer.Option(min=16, help="Side of a picture, in pixels.", metavar="N")] = 378,
    json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure `mdtool serve` on this machine, beside the engine itself in the same run.

    Starts a server of its own. gap: how long running streams stand still while a large photo is encoded. overhead: a
    request over the engine itself. throughput: captions of all clients against a batch. questions: several on a
    picture. disconnect: until the place of a client that went away is free. memory: whether it grows. faults: requests
    that are cancelled or broken among others. drain: whether accepted requests are lost at the end. Prints a table.

    \b
    mdtool bench serve --model pocket
    mdtool bench serve --config moondream-0.5b --quantize int8 --parts gap
    """
    from contextlib import nullcontext
    from dataclasses import asdict

    from mdtool.cli.values import parsed
    from mdtool.console import Console
    from mdtool.jobs.bench import serve as job
    from mdtool.jobs.bench.model import random_checkpoint
    from mdtool.model_selection import LoadCallbacks, model_errors

    if (config is None) == (model is None):
        raise UsageError("give --model NAME|PATH, or --config NAME for random weights")
    chosen = parsed("--parts", _parts, parts)
    load = job.Load(clients, rounds, pictures, requests, size)
    console = Console(verbose=verbose)
    callbacks = LoadCallbacks(note=console.note, explain=console.explain)
    with model_errors(), random_checkpoint(config) if config else nullcontext(model) as name:
        timings = job.bench_serve(str(name), computing.computing, callbacks, parts=chosen, load=load)
    if json:
        write_json_record(asdict(timings))
    else:
        write_stdout("\n".join(map(one_line, job.table(timings))) + "\n")


def _parts(text: str) -> list[str]:
    """Parse parts such as "gap,drain". Raises ValueError."""
    from mdtool.jobs.bench.serve import PARTS

    for part in (chosen := text.split(",")):
        if part not in PARTS:
            raise ValueError(f"{part!r} is no part; give some of {', '.join(PARTS)}")
    return chosen


def _counts(text: str) -> list[int]:
    """Parse numbers such as "64,256". Raises ValueError."""
    if not re.fullmatch(r"[1-9]\d{0,5}(,[1-9]\d{0,5})*", text):
        raise ValueError(f"{text!r} is not a list of numbers such as 64,256")
    return [int(number) for number in text.split(",")]
