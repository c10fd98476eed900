"""`mdtool point`: lists where things are, as points."""

import typer

from mdtool.cli.options.batch import PointOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import ImagesAndPrompt, MaxObjects, Prompts, Save
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.run_inference import InferenceTask, run_inference


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
    from mdtool.cli.values import split_images_and_prompts

    named, prompts = split_images_and_prompts(images, prompt, batch.files_from)
    requests = [PointRequest(None, one, max_objects) for one in prompts]
    raise typer.Exit(run_inference(InferenceTask("point", named, requests, prompts, save=save), model, printing, batch))
