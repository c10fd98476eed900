"""`mdtool query`: answers questions about a photo."""

from typing import Annotated

import typer

from mdtool.cli import options
from mdtool.cli.batch import Asking, TextOptions, run_batch, selection_of, video_task, with_options


@with_options(TextOptions)
def query(
    images: options.Images = [],
    question: Annotated[list[str], typer.Option("--question", "-q", help="What to ask. Repeatable.")] = [],
    questions: Annotated[
        str | None,
        typer.Option(help="Ask what is in this file too, a question a line (- for stdin).", metavar="FILE"),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Ask this, with each question in place of {}.", metavar="TEXT"),
    ] = None,
    choices: Annotated[
        list[str],
        typer.Option(help="The answer is one of these, whole and as written here: yes,no. Repeatable.", metavar="A,B"),
    ] = [],
    number: Annotated[bool, typer.Option("--number", help="The answer is a number.")] = False,
    reasoning: Annotated[
        bool | None,
        typer.Option("--reasoning/--no-reasoning", help="Think first; --json has the thoughts. Default: the model's."),
    ] = None,
    model: options.ModelName = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    quantize: options.Quantize = "none",
    compile: options.Compile = False,
    detail: options.Detail = "auto",
    resize: options.Resize = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    *,
    batch: TextOptions,
) -> None:
    """Answer questions about photos.

    The answer goes to stdout as it grows. Of several answers each is one line: the name of the photo if there are
    several, the question if there are several, and the answer, with tabs between them. With --choices or --number it
    can't be anything else, and --max-tokens cuts no choice.

    mdtool query photo.jpg -q "what colour is the car?"

    mdtool query *.jpg -q "is it day or night?" -q "how many people are there?"

    mdtool query *.jpg -q dog -q cat --template "is there a {} here?" --choices yes,no
    """
    from functools import partial

    from mdtool.cli.questions import query_requests
    from mdtool.cli.values import check_apart, generation
    from mdtool.console import Console
    from mdtool.jobs.inference.answer import answer, find_photos, is_one, show_as
    from mdtool.model_selection import Computing, load_model

    console = Console(quiet, verbose=verbose)
    how = generation(temperature, top_p, max_tokens, seed)
    requests = query_requests(question, questions, template, choices, number, reasoning, how, images)
    put = [request.question for request in requests]
    selection = selection_of(batch, images)
    computing = Computing(device, dtype, quantize, compile, detail, resize)
    load = partial(
        load_model, model, "query", put, computing,
        say=console.note, note=console.note, explain=console.explain,
    )  # fmt: skip
    if batch.wanted:
        videos = video_task(batch)
        check_apart("--jsonl", {"--json": json})
        asking = Asking("query", requests, videos, load, options={"computing": computing, **batch.moments})
        raise typer.Exit(run_batch(batch, selection, asking, console))
    sources = find_photos(selection)
    asked = load()
    show = show_as(requests, asked, json, named=not is_one(sources, images))
    raise typer.Exit(answer(sources, asked, requests, show, console))
