"""`mdtool point`: lists where things are, as points."""

import typer

from mdtool.cli import options
from mdtool.cli.batch import Asking, PointOptions, run_batch, selection_of, video_task, with_options


@with_options(PointOptions)
def point(
    images: options.ImagesAndPrompt = [],
    prompt: options.Prompts = [],
    max_objects: options.MaxObjects = None,
    save: options.Save = None,
    model: options.ModelName = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    quantize: options.Quantize = "none",
    compile: options.Compile = False,
    detail: options.Detail = "auto",
    resize: options.Resize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    *,
    batch: PointOptions,
) -> None:
    """List the places of what you name in photos, a point each.

    On a terminal a table; in a pipe a line for each point: name of the photo, label, x and y (parts of the upright
    photo's width and height, from its top left), with tabs between them.

    mdtool point photo.jpg "left eye"

    mdtool point ./photos bottle --json
    """
    from functools import partial

    from engine.contract import PointRequest
    from mdtool.cli.values import check_apart, images_and_prompts
    from mdtool.console import Console
    from mdtool.exports.annotated_image import targets_of
    from mdtool.jobs.inference.answer import answer, find_photos, is_one, show_as
    from mdtool.model_selection import Computing, load_model

    console = Console(quiet, verbose=verbose)
    named, prompts = images_and_prompts(images, prompt, batch.files_from)
    requests = [PointRequest(None, one, max_objects) for one in prompts]
    selection = selection_of(batch, named)
    computing = Computing(device, dtype, quantize, compile, detail, resize)
    load = partial(
        load_model, model, "point", prompts, computing,
        say=console.note, note=console.note, explain=console.explain,
    )  # fmt: skip
    if batch.wanted:
        videos = video_task(batch)
        check_apart("--jsonl", {"--json": json, "--save": save})
        asking = Asking("point", requests, videos, load, options={"computing": computing, **batch.moments})
        raise typer.Exit(run_batch(batch, selection, asking, console))
    sources = find_photos(selection)
    many = not is_one(sources, named)
    targets = None if save is None else targets_of(sources, save, many, batch.overwrite)
    asked = load()
    show = show_as(requests, asked, json, many)
    raise typer.Exit(answer(sources, asked, requests, show, console, save=targets, overwrite=batch.overwrite))
