"""`mdtool caption`: says what a photo shows."""

from typing import Annotated, Literal

import typer

from mdtool.cli.options.batch import TextOptions
from mdtool.cli.options.generation import GenerationOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import Images
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.run_inference import InferenceTask, run_inference


@grouped
def caption(
    *,
    images: Images = [],
    length: Annotated[Literal["short", "normal", "long"], typer.Option(help="How long the text is.")] = "normal",
    model: ModelOptions,
    generation: GenerationOptions,
    printing: AnswerPrinting,
    batch: TextOptions,
) -> None:
    """Say what photos show.

    The text goes to stdout as it grows. Of several photos each gives one line: its name, a tab, the text.

    mdtool caption photo.jpg --length short

    mdtool caption ./photos --jsonl captions.jsonl
    """
    from engine.contract import CaptionRequest

    request = CaptionRequest(None, length, generation.generation)
    task = InferenceTask("caption", images, [request], prompts=[length])
    raise typer.Exit(run_inference(task, model, printing, batch))
