"""`mdtool query`: answers questions about a photo."""

from typing import Annotated

import typer

from mdtool.cli import options
from mdtool.cli.batch import Asking, TextOptions, films_of, run_batch, selection_of, with_options


@with_options(TextOptions)
def query(
    question: Annotated[list[str], typer.Option("--question", "-q", help="What to ask. Repeatable.")],
    images: options.Images = [],
    reasoning: Annotated[
        bool | None,
        typer.Option("--reasoning/--no-reasoning", help="Think first; --json has the thoughts. Default: the model's."),
    ] = None,
    model: options.ModelName = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    detail: options.Detail = "auto",
    resize: options.Resize = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    *,
    batch: TextOptions,
) -> None:
    """Answer questions about photos.

    The answer goes to stdout as it grows. Of several answers each is one line: the name of the photo if there are
    several, the question if there are several, and the answer, with tabs between them.

    mdtool query photo.jpg -q "what colour is the car?"

    mdtool query *.jpg -q "is it day or night?" -q "how many people are there?"
    """
    from functools import partial

    from engine.contract import QueryRequest
    from mdtool.choice import load_model
    from mdtool.cli.values import check_apart, check_not_blank, generation
    from mdtool.console import Console
    from mdtool.jobs.asking.answer import answer, find_photos, is_one, show_as

    console = Console(quiet)
    check_not_blank("--question", question)
    how = generation(temperature, top_p, max_tokens, seed)
    requests = [QueryRequest(None, one, reasoning, generation=how) for one in question]
    selection = selection_of(batch, images)
    load = partial(
        load_model, model, "query", question, detail, device=device, dtype=dtype, resize=resize, say=console.note
    )
    if batch.wanted:
        films = films_of(batch)
        check_apart("--jsonl", {"--json": json})
        asking = Asking("query", requests, lambda _: films, load, options=(dtype, detail, resize, batch.moments))
        raise typer.Exit(run_batch(batch, selection, asking, console))
    sources = find_photos(selection)
    asked = load()
    show = show_as(requests, asked, json, named=not is_one(sources, images))
    raise typer.Exit(answer(sources, asked, requests, show, console))
