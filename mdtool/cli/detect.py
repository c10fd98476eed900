"""`mdtool detect`: lists where things are, as boxes; and records it of videos too."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.cli.options.batch import BoxOptions
from mdtool.cli.options.frames import Threshold, TileGrid
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import ImagesAndPrompt, MaxObjects, Prompts, Save
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.run_inference import InferenceTask, run_inference

if TYPE_CHECKING:
    from mdtool.jobs.batch.messages import VideoTask


@grouped
def detect(
    *,
    images: ImagesAndPrompt = [],
    prompt: Prompts = [],
    threshold: Threshold = None,
    max_objects: MaxObjects = None,
    save: Save = None,
    tiles: TileGrid = None,
    duration: Annotated[
        str | None, typer.Option(help="With --jsonl, for cameras and streams: end after this time.")
    ] = None,
    model: ModelOptions,
    printing: AnswerPrinting,
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
    from engine.contract import DetectRequest
    from mdtool.cli.values import split_images_and_prompts
    from mdtool.errors import UsageError

    named, prompts = split_images_and_prompts(images, prompt, batch.files_from)
    requests = [DetectRequest(None, one, max_objects, threshold=threshold) for one in prompts]
    task = InferenceTask("detect", named, requests, prompts, threshold, save, unrecorded={"--max-objects": max_objects})
    if batch.wanted:
        options = {"tiles": tiles, "duration": duration}
        task = replace(task, videos=_tracked(prompts, threshold, tiles, duration), options=options)
    elif tiles is not None:
        raise UsageError("--tiles: only together with --jsonl")
    raise typer.Exit(run_inference(task, model, printing, batch))


def _tracked(
    prompts: Sequence[str], threshold: float | None, tiles: str | None, duration: str | None
) -> "Callable[[VideoTask], VideoTask]":
    """Have videos recorded frame by frame, as redact finds things. UsageError for options that can't be."""
    from mdtool.cli.options.outputs import LiveOptions
    from mdtool.cli.values import parsed
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.tracking.tiles import parse_tiles

    grid, live = parsed("--tiles", parse_tiles, tiles), LiveOptions(duration=duration).live

    def tracked(videos: "VideoTask") -> "VideoTask":
        request = AnalysisRequest(tuple(prompts), threshold, videos.sampling, None, videos.start, videos.end)
        return replace(videos, find=request, tiles=grid, live=live)

    return tracked
