"""`mdtool query`: answers questions about a photo."""

import typer

from mdtool.cli.options.batch import TextOptions
from mdtool.cli.options.generation import GenerationOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import Images
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.options.questions import QuestionOptions
from mdtool.cli.run_inference import InferenceTask, run_inference


@grouped
def query(
    *,
    images: Images = [],
    asked: QuestionOptions,
    model: ModelOptions,
    generation: GenerationOptions,
    printing: AnswerPrinting,
    batch: TextOptions,
) -> None:
    """Answer questions about photos.

    The answer goes to stdout as it grows. Of several answers each is one line: the name of the photo if there are
    several, the question if there are several, and the answer, with tabs between them. With --choices or --number it
    can't be anything else, and --max-tokens cuts no choice.

    mdtool query photo.jpg -q "what colour is the car?"

    mdtool query *.jpg -q "is it day or night?" -q "how many people are there?"

    mdtool query *.jpg -q dog -q cat --template "is there a {} here?" --choices yes,no
    """
    from mdtool.cli.questions import query_requests

    requests = query_requests(asked, generation.generation, images)
    task = InferenceTask("query", images, requests, prompts=[request.question for request in requests])
    raise typer.Exit(run_inference(task, model, printing, batch))
