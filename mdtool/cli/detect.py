"""`mdtool detect`: list the bounding boxes of objects in images, and record those in videos."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.cli.options.batch import BoxOptions
from mdtool.cli.options.frames import Threshold, TileGrid
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.images import Draw, ImagesAndPrompt, MaxObjects, Prompts, Region
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.cli.run_task import InferenceTask, run_task

if TYPE_CHECKING:
    from mdtool.jobs.batch.messages import VideoTask


@grouped
def detect(
    *,
    ctx: typer.Context,
    images: ImagesAndPrompt = [],
    prompt: Prompts = [],
    threshold: Threshold = None,
    max_objects: MaxObjects = None,
    draw: Draw = None,
    tiles: TileGrid = None,
    duration: Annotated[
        str | None, typer.Option(help="Live input, with --jsonl: stop after this time (10m).", metavar="TIME")
    ] = None,
    region: Region = None,
    model: ModelOptions,
    printing: AnswerPrinting,
    batch: BoxOptions,
) -> None:
    """Detect objects and list their bounding boxes.

    Prints a table on a terminal. In a pipe each box is one line: file name, label, x_min, y_min, x_max, y_max
    (normalised coordinates, 0 to 1 from the top left of the upright image) and score if the model reports one,
    separated by tabs. Videos need --jsonl, which tracks objects and writes findings.

    \b
    mdtool detect photo.jpg face
    mdtool detect ./photos "license plate" --draw ./drawn
    mdtool detect - -p face -p dog --json < photo.jpg
    mdtool detect in.mp4 face --jsonl - | mdtool redact in.mp4 --from-findings -
    """
    from engine.contract import DetectRequest
    from mdtool.cli.arguments import PROMPT, is_preset, split_arguments
    from mdtool.errors import UsageError

    named, prompts = split_arguments(
        images, prompt, PROMPT, listed=bool(batch.files_from), preset=is_preset(ctx, "prompt")
    )
    requests = [DetectRequest(None, one, max_objects, threshold=threshold) for one in prompts]
    task = InferenceTask(
        "detect", named, requests, prompts, threshold, draw, unrecorded={"--max-objects": max_objects}, region=region
    )
    if batch.wanted:
        options = {"tiles": tiles, "duration": duration}
        task = replace(task, videos=_tracked(prompts, threshold, tiles, duration), options=options)
    elif tiles is not None:
        raise UsageError("--tiles: only with --jsonl")
    raise typer.Exit(run_task(task, model, printing, batch))


def _tracked(
    prompts: Sequence[str], threshold: float | None, tiles: str | None, duration: str | None
) -> "Callable[[VideoTask], VideoTask]":
    """Return what makes a video task track objects frame by frame. Raises UsageError for options that can't be."""
    from mdtool.cli.options.outputs import LiveOptions
    from mdtool.cli.values import parsed
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.tracking.tiles import parse_tiles

    grid, live = parsed("--tiles", parse_tiles, tiles), LiveOptions(duration=duration).live

    def tracked(videos: "VideoTask") -> "VideoTask":
        request = AnalysisRequest(tuple(prompts), threshold, videos.sampling, None, videos.start, videos.end)
        return replace(videos, find=request, tiles=grid, live=live)

    return tracked
