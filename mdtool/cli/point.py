"""`mdtool point`: lists where things are, as points."""

import typer

from mdtool.cli.ask import Task, ask
from mdtool.cli.options.batch import PointOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.photos import ImagesAndPrompt, MaxObjects, Prompts, Save
from mdtool.cli.options.printing import AnswerPrinting


@grouped
def point(
    *,
    images: ImagesAndPrompt = [],
    prompt: Prompts = [],
    max_objects: MaxObjects = None,
    save: Save = None,
    model: ModelOptions,
    printing: AnswerPrinting,
    batch: PointOptions,
) -> None:
    """List the places of what you name in photos, a point each.

    On a terminal a table; in a pipe a line for each point: name of the photo, label, x and y (parts of the upright
    photo's width and height, from its top left), with tabs between them.

    mdtool point photo.jpg "left eye"

    mdtool point ./photos bottle --json
    """
    from engine.contract import PointRequest
    from mdtool.cli.values import images_and_prompts

    named, prompts = images_and_prompts(images, prompt, batch.files_from)
    requests = [PointRequest(None, one, max_objects) for one in prompts]
    raise typer.Exit(ask(Task("point", named, requests, prompts, save=save), model, printing, batch))
