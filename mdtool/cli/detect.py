"""`mdtool detect`: lists where things are, as boxes; and records it of videos too."""

from typing import Annotated

import typer

from mdtool.cli import options
from mdtool.cli.batch import Asking, BoxOptions, run_batch, selection_of, video_task, with_options


@with_options(BoxOptions)
def detect(
    images: options.ImagesAndPrompt = [],
    prompt: options.Prompts = [],
    threshold: options.Threshold = None,
    max_objects: options.MaxObjects = None,
    save: options.Save = None,
    tiles: options.Tiles = None,
    duration: Annotated[
        str | None, typer.Option(help="With --jsonl, for cameras and streams: end after this time.")
    ] = None,
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
    batch: BoxOptions,
) -> None:
    """List the boxes round what you name in photos.

    On a terminal a table; in a pipe a line for each box: name of the photo, label, x_min, y_min, x_max, y_max (parts
    of the upright photo's width and height, from its top left) and score if the model has one, with tabs between them.

    mdtool detect photo.jpg face

    mdtool detect ./photos "license plate" --save ./marked

    mdtool detect - -p face -p dog --json < photo.jpg

    mdtool detect in.mp4 face --jsonl - | mdtool redact in.mp4 --from-findings -
    """
    from dataclasses import replace
    from functools import partial

    from engine.contract import DetectRequest
    from mdtool.cli.values import check_apart, images_and_prompts, parsed
    from mdtool.console import Console
    from mdtool.errors import UsageError
    from mdtool.exports.annotated_image import targets_of
    from mdtool.jobs.inference.answer import answer, find_photos, is_one, show_as
    from mdtool.model_selection import Computing, load_model

    console = Console(quiet, verbose=verbose)
    named, prompts = images_and_prompts(images, prompt, batch.files_from)
    requests = [DetectRequest(None, one, max_objects) for one in prompts]
    selection = selection_of(batch, named)
    computing = Computing(device, dtype, quantize, compile, detail, resize)
    load = partial(
        load_model, model, "detect", prompts, computing, threshold,
        say=console.note, note=console.note, explain=console.explain,
    )  # fmt: skip
    if batch.wanted:
        from mdtool.cli.live import checked_live
        from mdtool.pipeline.annotate import Question
        from mdtool.tracking.tiles import parse_tiles

        check_apart("--jsonl", {"--json": json, "--save": save, "--max-objects": max_objects})
        frames = video_task(batch)
        grid, live = parsed("--tiles", parse_tiles, tiles), checked_live(duration=duration)
        question = Question(tuple(prompts), threshold, frames.sampling, None, frames.start, frames.end)
        videos = replace(frames, find=question, tiles=grid, live=live)
        decides = {"computing": computing, **batch.moments, "tiles": tiles, "duration": duration}
        asking = Asking("detect", requests, videos, load, threshold, decides)
        raise typer.Exit(run_batch(batch, selection, asking, console))
    if tiles is not None:
        raise UsageError("--tiles: only together with --jsonl")
    sources = find_photos(selection)
    many = not is_one(sources, named)
    targets = None if save is None else targets_of(sources, save, many, batch.overwrite)
    show = show_as(requests, asked := load(), json, many)
    raise typer.Exit(answer(sources, asked, requests, show, console, threshold, targets, batch.overwrite))
