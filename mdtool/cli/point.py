"""`mdtool point`: list the centre points of objects in images."""

import typer

from mdtool.cli.options.batch import PointOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import Draw, ImagesAndPrompt, MaxObjects, Prompts, Region
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.run_task import InferenceTask, run_task


@grouped
def point(
    *,
    ctx: typer.Context,
    images: ImagesAndPrompt = [],
    prompt: Prompts = [],
    max_objects: MaxObjects = None,
    draw: Draw = None,
    region: Region = None,
    model: ModelOptions,
    printing: AnswerPrinting,
    batch: PointOptions,
) -> None:
    """Locate objects and list a point for each.

    Prints a table on a terminal. In a pipe each point is one line: file name, label, x and y (normalised coordinates,
    0 to 1 from the top left of the upright image), separated by tabs.

    \b
    mdtool point photo.jpg "left eye"
    mdtool point ./photos bottle --json
    """
    from engine.contract import PointRequest
    from mdtool.cli.arguments import PROMPT, is_preset, split_arguments

    named, prompts = split_arguments(
        images, prompt, PROMPT, listed=bool(batch.files_from), preset=is_preset(ctx, "prompt")
    )
    requests = [PointRequest(None, one, max_objects) for one in prompts]
    task = InferenceTask("point", named, requests, prompts, draw=draw, region=region)
    raise typer.Exit(run_task(task, model, printing, batch))
