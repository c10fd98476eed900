"""`mdtool caption`: describe images."""

from typing import Annotated, Literal

import typer

from mdtool.cli.options.batch import TextOptions
from mdtool.cli.options.generation import GenerationOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import Images, Region
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.run_task import InferenceTask, run_task


@grouped
def caption(
    *,
    images: Images = [],
    length: Annotated[Literal["short", "normal", "long"], typer.Option(help="Length of the caption.")] = "normal",
    region: Region = None,
    model: ModelOptions,
    generation: GenerationOptions,
    printing: AnswerPrinting,
    batch: TextOptions,
) -> None:
    """Describe images and video frames in text.

    The caption is streamed to stdout. For several images each is one line: file name, tab, caption.

    \b
    mdtool caption photo.jpg --length short
    mdtool caption ./photos --jsonl captions.jsonl
    mdtool caption in.mp4 --sample fps=1 --jsonl captions.jsonl
    """
    from engine.contract import CaptionRequest

    request = CaptionRequest(None, length, generation.generation)
    task = InferenceTask("caption", images, [request], prompts=[length], region=region)
    raise typer.Exit(run_task(task, model, printing, batch))
