"""`mdtool query`: answer questions about images."""

import typer

from mdtool.cli.options.batch import TextOptions
from mdtool.cli.options.generation import GenerationOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import ImagesAndQuestion, Region
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.options.questions import QuestionOptions
from mdtool.cli.run_task import InferenceTask, run_task


@grouped
def query(
    *,
    ctx: typer.Context,
    images: ImagesAndQuestion = [],
    questions: QuestionOptions,
    region: Region = None,
    model: ModelOptions,
    generation: GenerationOptions,
    printing: AnswerPrinting,
    batch: TextOptions,
) -> None:
    """Answer questions about images and video frames.

    The answer is streamed to stdout. Of several answers each is one line: file name (of several images), question (of
    several), answer, separated by tabs. --choices and --number constrain decoding, and --max-tokens does not truncate
    a choice.

    \b
    mdtool query photo.jpg "what colour is the car?"
    mdtool query *.jpg --question "day or night?" --question "how many people?"
    mdtool query *.jpg dog --template "is there a {} here?" --choices yes,no
    """
    from mdtool.cli.arguments import is_preset
    from mdtool.cli.questions import query_requests
    from mdtool.cli.values import check_exclusive

    listed, preset = bool(batch.files_from), is_preset(ctx, "question")
    check_exclusive("--region", {"--at": questions.at} if region else {})
    inputs, requests = query_requests(images, questions, generation.generation, listed=listed, preset=preset)
    task = InferenceTask("query", inputs, requests, prompts=[request.question for request in requests], region=region)
    raise typer.Exit(run_task(task, model, printing, batch))
