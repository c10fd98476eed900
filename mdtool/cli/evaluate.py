"""`mdtool eval`: accuracy against ground truth."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.evaluate_redact import Detail, Margin, Prompts, evaluate_redact
from mdtool.cli.evaluate_sets import TASK_COMMAND, TaskGroup, evaluate_compare, evaluate_speed_quality, evaluate_task
from mdtool.cli.options.frames import Threshold
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ComputingOptions, Device, Dtype, ModelName
from mdtool.cli.options.printing import Json, Verbose
from mdtool.errors import InputError
from mdtool.escaping import one_line
from mdtool.stdout import write_json_record, write_stdout


class EvaluatedScheme(StrEnum):
    """What `eval quantize` compares: the weights in one of the schemes, or the KV cache in int8."""

    int8 = "int8"
    int4 = "int4"
    int4_64 = "int4-64"
    int4_32 = "int4-32"
    int4_all = "int4-all"
    kv_int8 = "kv-int8"


app = typer.Typer(cls=TaskGroup, help="Evaluate accuracy against ground truth.", no_args_is_help=True)
app.command(TASK_COMMAND)(evaluate_task)
app.command("compare")(evaluate_compare)
app.command("speed-quality")(evaluate_speed_quality)


@app.callback()
def evaluate() -> None:
    """Evaluate accuracy against ground truth."""


app.command("redact")(evaluate_redact)


@app.command("sampling")
def evaluate_sampling(
    *,
    clips: Annotated[
        list[Path], typer.Argument(help="Videos, each with its ground truth in CLIP.gt.json.", metavar="CLIP...")
    ],
    prompt: Prompts = ["face"],
    margin: Margin = None,
    threshold: Threshold = None,
    detail: Detail = "auto",
    model: ModelName = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per clip.")] = False,
) -> None:
    """Compare --sample auto with --sample every: objects that only auto leaves exposed, model calls and time.

    Prints a table.

    \b
    mdtool eval sampling clips/*.mp4
    """
    from mdtool.jobs.evals.ground_truth.clips import Clip
    from mdtool.jobs.evals.sampling import compare_sampling, table
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.model_selection import ComputeConfig, load_model
    from mdtool.pipeline.annotate import AnalysisRequest
    from recipes.redact import MARGIN, Style

    request = AnalysisRequest(tuple(prompt), threshold)
    redaction = Redaction(Style("solid", margin=MARGIN if margin is None else margin))
    loaded = load_model(model, "detect", prompt, ComputeConfig(detail=detail), threshold=threshold)
    rows = []
    for clip in clips:
        with_truth = Clip(clip.name, clip, Path(f"{clip}.gt.json"))
        try:
            row = compare_sampling(with_truth, loaded, request=request, redaction=redaction)
        except InputError as error:
            raise InputError(f"{clip}: {error}") from error
        if json:
            write_json_record(row.as_dict())
        rows.append(row)
    if not json:
        write_stdout("\n".join(map(one_line, table(rows))) + "\n")


@app.command("pocket")
@grouped
def evaluate_pocket(
    *,
    model: ModelName = "pocket",
    computing: ComputingOptions,
    scenes: Annotated[int, typer.Option(min=1, help="Number of synthetic scenes.", metavar="N")] = 400,
    batch_size: Annotated[int, typer.Option(min=1, help="Scenes per batch.", metavar="N")] = 4,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate a model on synthetic scenes that `pocket` was not trained on.

    Prints a table of scores.

    \b
    mdtool eval pocket --quantize int4
    mdtool eval pocket --scenes 100 --json | jq .scores
    """
    from engine.pocket.evaluation import evaluate_model, seeds
    from mdtool.console import Console
    from mdtool.model_selection import LoadCallbacks, load_language_model

    console = Console(verbose=verbose)
    callbacks = LoadCallbacks(note=console.note, explain=console.explain)
    loaded = load_language_model(model, computing.computing, callbacks)
    report = evaluate_model(loaded, seeds(scenes), batch_size)
    scores, answers = report.scores(), report.answers()
    if json:
        settings = {
            "model": loaded.name,
            "quantize": computing.quantize,
            "compile": computing.compile,
            "scenes": scenes,
        }
        write_json_record(settings | {"scores": scores, "answers": answers, "wrong": report.wrong})
        return
    write_stdout("| score | | of |\n|---|---|---|\n")
    for name, score in scores.items():
        write_stdout(f"| {name} | {score:.1%} | {answers[name]} |\n")


@app.command("quantize")
def evaluate_quantize(
    *,
    images: Annotated[
        list[str],
        typer.Argument(help="Images, folders or globs. Default: synthetic scenes.", metavar="[IMAGE]..."),
    ] = [],
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt",
            "-p",
            help="Object to detect. Repeatable. Default: the objects in synthetic scenes.",
            metavar="TEXT",
        ),
    ] = [],
    model: ModelName = "pocket",
    device: Device = "auto",
    dtype: Dtype = None,
    scheme: Annotated[
        list[EvaluatedScheme],
        typer.Option(
            help="Quantisation scheme to compare; kv-int8: the KV cache alone. Repeatable. Default: all of them."
        ),
    ] = list(EvaluatedScheme),
    scenes: Annotated[int, typer.Option(min=1, help="Number of synthetic scenes.", metavar="N")] = 40,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per scheme.")] = False,
    verbose: Verbose = False,
) -> None:
    """Compare the answers of a quantised model with those of the same model unquantised.

    Prints a table of agreement.

    \b
    mdtool eval quantize photos/*.jpg --model moondream2 -p face -p dog --scheme int4
    """
    from dataclasses import asdict

    from engine.pocket.draw import draw
    from engine.pocket.evaluation import seeds
    from engine.pocket.scene import random_scene
    from mdtool.console import Console
    from mdtool.jobs.evals.quantization import compare_quantized, table
    from mdtool.jobs.inference.run_and_print import read_rgb
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import ComputeConfig, LoadCallbacks

    arrays = [] if images else [draw(random_scene(seed)).pixels for seed in seeds(scenes)]
    for source in find_inputs(images) if images else ():
        try:
            arrays.append(read_rgb(source))
        except InputError as error:
            raise InputError(f"{source.name}: {error}") from error
    prompts = prompt or ["circle", "red shape", "star", "face"]
    computing, console = ComputeConfig(device, dtype), Console(verbose=verbose)
    callbacks = LoadCallbacks(note=console.note, explain=console.explain)
    agreements = compare_quantized(
        model, [kind.value for kind in scheme], arrays, prompts, computing=computing, callbacks=callbacks
    )
    if json:
        for agreement in agreements:
            write_json_record({"model": model, **asdict(agreement)})
    else:
        for line in table(agreements):
            write_stdout(one_line(line) + "\n")
