"""`mdtool eval`: how well a job is done, against ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ComputingOptions, Device, Dtype, ModelName, QuantizationFormat
from mdtool.cli.options.printing import Json, Verbose
from mdtool.errors import InputError
from mdtool.stdout import write_json_record, write_stdout

app = typer.Typer(help="Measure how well a job is done, against ground truth.", no_args_is_help=True)


@app.callback()
def evaluate() -> None:
    pass


@app.command("redact")
def evaluate_redact(
    *,
    clip: Annotated[Path, typer.Argument(help="A video.")],
    truth: Annotated[
        Path | None, typer.Argument(help="Its ground truth, as JSON. Default: CLIP.gt.json.", metavar="GT.json")
    ] = None,
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", help="What is hidden; true boxes labelled otherwise do not count.")
    ] = ["face"],
    sample: Annotated[str, typer.Option(help="Frames the model looks at: auto, every, N (one in N), fps=F.")] = "auto",
    margin: Annotated[float | None, typer.Option(help="As for redact.")] = None,
    threshold: Annotated[float | None, typer.Option(help="As for redact.")] = None,
    detail: Annotated[str, typer.Option(help="As for redact.")] = "auto",
    model: ModelName = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with every exposed object-frame.")] = False,
) -> None:
    """How much of the true boxes a redaction leaves bare, how much else it covers, and what it costs in looks."""
    from mdtool.jobs.evals.redaction import evaluate_redaction, table
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.model_selection import ComputeConfig, load_model
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.tracking.sampling import parse_sampling
    from recipes.redact import MARGIN, Style

    request = AnalysisRequest(tuple(prompt), threshold, parse_sampling(sample))
    redaction = Redaction(Style("solid", margin=MARGIN if margin is None else margin))
    loaded_model = load_model(model, "detect", prompt, ComputeConfig(detail=detail), threshold=threshold)
    exposure = evaluate_redaction(
        clip, truth or Path(f"{clip}.gt.json"), loaded_model, request=request, redaction=redaction
    )
    if json:
        write_json_record(exposure.as_dict())
    else:
        write_stdout("\n".join(table([exposure])) + "\n")


@app.command("pocket")
@grouped
def evaluate_pocket(
    *,
    model: ModelName = "pocket",
    computing: ComputingOptions,
    scenes: Annotated[int, typer.Option(min=1, help="How many drawn scenes are asked about.")] = 400,
    at_once: Annotated[int, typer.Option(min=1, help="How many of them are in a batch.")] = 4,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """How well a model answers about drawn scenes that `pocket` was not trained on.

    mdtool eval pocket --quantize int4

    mdtool eval pocket --scenes 100 --json | jq .scores
    """
    from engine.pocket.evaluation import evaluate_model, seeds
    from mdtool.console import Console
    from mdtool.model_selection import LoadCallbacks, load_language_model

    console = Console(verbose=verbose)
    callbacks = LoadCallbacks(note=console.note, explain=console.explain)
    loaded_model = load_language_model(model, computing.computing, callbacks)
    report = evaluate_model(loaded_model, seeds(scenes), at_once)
    scores, answers = report.scores(), report.answers()
    if json:
        settings = {
            "model": loaded_model.name,
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
        typer.Argument(help="Photos, folders of them, or globs. Default: drawn scenes.", metavar="[IMAGE]..."),
    ] = [],
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", help="What is looked for. Default: what drawn scenes have.")
    ] = [],
    model: ModelName = "pocket",
    device: Device = "auto",
    dtype: Dtype = None,
    to: Annotated[
        list[QuantizationFormat], typer.Option(help="What is compared. Repeatable. Default: all that there is.")
    ] = list(QuantizationFormat),
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes are drawn.")] = 40,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each.")] = False,
    verbose: Verbose = False,
) -> None:
    """How far a model in few bits answers as the same model does unquantised.

    mdtool eval quantize photos/*.jpg --model moondream2 -p face -p dog --to int4
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

    pictures = [] if images else [draw(random_scene(seed)).pixels for seed in seeds(scenes)]
    for source in find_inputs(images) if images else ():
        try:
            pictures.append(read_rgb(source))
        except InputError as error:
            raise InputError(f"{source.name}: {error}") from error
    prompts = prompt or ["circle", "red shape", "star", "face"]
    computing, console = ComputeConfig(device, dtype), Console(verbose=verbose)
    callbacks = LoadCallbacks(note=console.note, explain=console.explain)
    agreements = compare_quantized(
        model, [kind.value for kind in to], pictures, prompts, computing=computing, callbacks=callbacks
    )
    if json:
        for agreement in agreements:
            write_json_record({"model": model, **asdict(agreement)})
    else:
        for line in table(agreements):
            write_stdout(line + "\n")
