"""`mdtool caption`: says what a photo shows."""

from typing import Annotated, Literal

import typer

from mdtool.cli import options
from mdtool.cli.batch import Asking, TextOptions, run_batch, selection_of, video_task, with_options


@with_options(TextOptions)
def caption(
    images: options.Images = [],
    length: Annotated[Literal["short", "normal", "long"], typer.Option(help="How long the text is.")] = "normal",
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
    """Say what photos show.

    The text goes to stdout as it grows. Of several photos each gives one line: its name, a tab, the text.

    mdtool caption photo.jpg --length short

    mdtool caption ./photos --jsonl captions.jsonl
    """
    from functools import partial

    from engine.contract import CaptionRequest
    from mdtool.cli.values import check_apart, generation
    from mdtool.console import Console
    from mdtool.jobs.inference.answer import answer, find_photos, is_one, show_as
    from mdtool.model_selection import Computing, load_model

    console = Console(quiet, verbose=verbose)
    request = CaptionRequest(None, length, generation(temperature, top_p, max_tokens, seed))
    selection = selection_of(batch, images)
    computing = Computing(device, dtype, quantize, compile, detail, resize)
    load = partial(
        load_model, model, "caption", [length], computing,
        say=console.note, note=console.note, explain=console.explain,
    )  # fmt: skip
    if batch.wanted:
        videos = video_task(batch)
        check_apart("--jsonl", {"--json": json})
        asking = Asking("caption", [request], videos, load, options={"computing": computing, **batch.moments})
        raise typer.Exit(run_batch(batch, selection, asking, console))
    sources = find_photos(selection)
    asked = load()
    show = show_as([request], asked, json, named=not is_one(sources, images))
    raise typer.Exit(answer(sources, asked, [request], show, console))
