"""`mdtool eval`: how well a job is done, against ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ComputingOptions, Device, Dtype, FewBits, ModelName
from mdtool.cli.options.printing import Json, Verbose
from mdtool.errors import InputError
from mdtool.stdout import put, put_record

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
    from mdtool.model_selection import Computing, load_model
    from mdtool.pipeline.annotate import Question
    from mdtool.tracking.sampling import parse_sampling
    from recipes.redact import MARGIN, Style

    question = Question(tuple(prompt), threshold, parse_sampling(sample))
    redaction = Redaction(Style("solid", margin=MARGIN if margin is None else margin))
    asked = load_model(model, "detect", prompt, Computing(detail=detail), threshold=threshold)
    exposure = evaluate_redaction(clip, truth or Path(f"{clip}.gt.json"), asked, question=question, redaction=redaction)
    if json:
        put_record(exposure.as_dict())
    else:
        put("\n".join(table([exposure])) + "\n")


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
    from engine.pocket.exam import examine, seeds
    from mdtool.console import Console
    from mdtool.model_selection import Notices, load_language_model

    console = Console(verbose=verbose)
    notices = Notices(note=console.note, explain=console.explain)
    asked = load_language_model(model, computing.computing, notices)
    report = examine(asked, seeds(scenes), at_once)
    scores, answers = report.scores(), report.answers()
    if json:
        settings = {"model": asked.name, "quantize": computing.quantize, "compile": computing.compile, "scenes": scenes}
        put_record(settings | {"scores": scores, "answers": answers, "wrong": report.wrong})
        return
    put("| score | | of |\n|---|---|---|\n")
    for name, score in scores.items():
        put(f"| {name} | {score:.1%} | {answers[name]} |\n")


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
    to: Annotated[list[FewBits], typer.Option(help="What is compared. Repeatable. Default: all that there is.")] = list(
        FewBits
    ),
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes are drawn.")] = 40,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each.")] = False,
    verbose: Verbose = False,
) -> None:
    """How far a model in few bits answers as the same model does unquantised.

    mdtool eval quantize photos/*.jpg --model moondream2 -p face -p dog --to int4
    """
    from dataclasses import asdict

    from engine.pocket.draw import draw
    from engine.pocket.exam import seeds
    from engine.pocket.scene import imagine
    from mdtool.console import Console
    from mdtool.jobs.evals.quantization import compare_quantised, table
    from mdtool.jobs.inference.answer import read_rgb
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import Computing, Notices

    pictures = [] if images else [draw(imagine(seed)).pixels for seed in seeds(scenes)]
    for source in find_inputs(images) if images else ():
        try:
            pictures.append(read_rgb(source))
        except InputError as error:
            raise InputError(f"{source.name}: {error}") from error
    prompts = prompt or ["circle", "red shape", "star", "face"]
    computing, console = Computing(device, dtype), Console(verbose=verbose)
    notices = Notices(note=console.note, explain=console.explain)
    agreements = compare_quantised(
        model, [kind.value for kind in to], pictures, prompts, computing=computing, notices=notices
    )
    if json:
        for agreement in agreements:
            put_record({"model": model, **asdict(agreement)})
    else:
        for line in table(agreements):
            put(line + "\n")
