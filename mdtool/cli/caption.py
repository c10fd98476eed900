"""`mdtool caption`: says what a photo shows."""

from typing import Annotated, Literal

import typer

from mdtool.cli import options


def caption(
    images: options.Images,
    length: Annotated[Literal["short", "normal", "long"], typer.Option(help="How long the text is.")] = "normal",
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
) -> None:
    """Say what photos show.

    The text goes to stdout as it grows. Of several photos each gives one line: its name, a tab, the text.

    mdtool caption photo.jpg --length short

    mdtool caption ./photos --json > captions.jsonl
    """
    from engine.contract import CaptionRequest
    from mdtool.choice import load_model
    from mdtool.cli.values import generation
    from mdtool.console import Console
    from mdtool.jobs.asking.answer import answer, find_photos, is_one, show_as

    console = Console(quiet)
    request = CaptionRequest(None, length, generation(temperature, top_p, max_tokens, seed))
    sources = find_photos(images)
    asked = load_model(model, "caption", [length], detail, device=device, dtype=dtype, resize=resize, say=console.note)
    show = show_as([request], asked, json, named=not is_one(sources, images))
    raise typer.Exit(answer(sources, asked, [request], show, console))
