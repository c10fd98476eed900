"""`mdtool detect`: lists where things are, as boxes."""

import typer

from mdtool.cli import options


def detect(
    images: options.ImagesAndPrompt,
    prompt: options.Prompts = [],
    threshold: options.Threshold = None,
    max_objects: options.MaxObjects = None,
    save: options.Save = None,
    overwrite: options.Overwrite = False,
    model: options.ModelName = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    detail: options.Detail = "auto",
    resize: options.Resize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the boxes round what you name in photos.

    On a terminal a table; in a pipe a line for each box: name of the photo, label, x_min, y_min, x_max, y_max (parts
    of the upright photo's width and height, from its top left) and score if the model has one, with tabs between them.

    mdtool detect photo.jpg face

    mdtool detect ./photos "license plate" --save ./marked

    mdtool detect - -p face -p dog --json < photo.jpg
    """
    from engine.contract import DetectRequest
    from mdtool.choice import load_model
    from mdtool.cli.values import images_and_prompts
    from mdtool.console import Console
    from mdtool.jobs.answer import answer, find_photos, is_one, show_as
    from mdtool.jobs.marked import targets_of

    console = Console(quiet)
    named, prompts = images_and_prompts(images, prompt)
    requests = [DetectRequest(None, one, max_objects) for one in prompts]
    sources = find_photos(named)
    many = not is_one(sources, named)
    targets = None if save is None else targets_of(sources, save, many, overwrite)
    asked = load_model(
        model, "detect", prompts, detail, threshold, device=device, dtype=dtype, resize=resize, say=console.note
    )
    show = show_as(requests, asked, json, many)
    raise typer.Exit(answer(sources, asked, requests, show, console, threshold, targets, overwrite))
