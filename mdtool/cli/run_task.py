"""What caption, query, detect and point share: run a model on images, and print or record its answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mdtool.cli.options.batch import BatchOptions
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AnswerPrinting
from mdtool.errors import ExitCode

if TYPE_CHECKING:  # what takes long to load, and --help does not need
    from engine.contract import Request
    from engine.generation.verbs import VisionModel
    from mdtool.console import Console
    from mdtool.jobs.batch.messages import VideoTask
    from mdtool.media.sources.discover import Selection


def _sampled_frames(videos: "VideoTask") -> "VideoTask":
    return videos


@dataclass(frozen=True)
class InferenceTask:
    """What one command runs on every input.

    Attributes:
        skill: The skill that the model needs, which is also the name of the command.
        images: Files, folders and globs, as typed.
        requests: Without their image.
        prompts: What the model must serve, as `load_model` takes them.
        threshold: Confidence threshold of detections, 0 to 1; None is the model's own.
        draw: Where annotated copies go.
        videos: Completes the task for videos; by default each request is run on each sampled frame.
        options: All other options that change the results, by their names in a BATCH fingerprint.
        unrecorded: Options, by name and value, that can't be used with records.
        region: The only region that the model sees, as typed; None: whole images.
    """

    skill: str
    images: Sequence[str]
    requests: "Sequence[Request]"
    prompts: Sequence[str]
    threshold: float | None = None
    draw: str | None = None
    videos: "Callable[[VideoTask], VideoTask]" = _sampled_frames
    options: Mapping[str, object] = field(default_factory=dict)
    unrecorded: Mapping[str, object] = field(default_factory=dict)
    region: str | None = None


def run_task(task: InferenceTask, model: ModelOptions, printing: AnswerPrinting, batch: BatchOptions) -> ExitCode:
    """Run the task, and record the answers if an option makes a batch of it, else print them.

    Raises:
        UsageError: Options that can't be, or not together.
        NoInputFound: No image matches.
    """
    from mdtool.cli.batch import BatchJob, run_batch, selection_of, video_task
    from mdtool.cli.values import check_exclusive, parsed
    from mdtool.jobs.inference.model_source import ModelSource
    from mdtool.model_selection import LoadCallbacks, model_errors
    from recipes.regions import parse_region

    console, computing = printing.console, model.computing
    selection = selection_of(batch, task.images)
    area = parsed("--region", parse_region, task.region)
    may_pull = model.may_pull(console, [*task.images, batch.files_from or ""])
    callbacks = LoadCallbacks(console.note, console.note, console.explain, may_pull)
    source = ModelSource(model.model, task.skill, task.prompts, computing, task.threshold, area)

    def load() -> "VisionModel":
        loaded = source.load(callbacks)
        with model_errors():  # so that a request which no image could be asked fails at once
            for request in task.requests:
                loaded.check(request)
        return loaded

    if not batch.wanted:
        return _print_answers(task, selection, load, console, as_json=printing.json, overwrite=batch.overwrite)
    videos = task.videos(video_task(batch))
    check_exclusive("--jsonl", {"--json": printing.json, **task.unrecorded})
    decides = {"computing": computing, "region": area, **batch.sampling_settings, **task.options}
    job = BatchJob(task.skill, task.requests, videos, load, source, decides, task.draw)
    return run_batch(batch, selection, job, console)


def _print_answers(
    task: InferenceTask,
    selection: "Selection",
    load: "Callable[[], VisionModel]",
    console: "Console",
    *,
    as_json: bool,
    overwrite: bool,
) -> ExitCode:
    from mdtool.exports.annotated_image import targets_of
    from mdtool.jobs.inference.run_and_print import choose_printer, find_images, is_single_image, run_and_print

    sources = find_images(selection)
    many = not is_single_image(sources, task.images)
    targets = None if task.draw is None else targets_of(sources, task.draw, many, overwrite)
    model = load()
    show = choose_printer(task.requests, model, as_json, many)
    return run_and_print(sources, model, task.requests, show, console=console, save=targets, overwrite=overwrite)
