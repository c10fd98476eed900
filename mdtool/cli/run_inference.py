"""What caption, query, detect and point share: a model is asked about photos, and its answers printed or recorded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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


def _each_frame(videos: "VideoTask") -> "VideoTask":
    return videos


@dataclass(frozen=True)
class InferenceTask:
    """What one command asks.

    Attributes:
        skill: That the model needs; the command is called like it.
        images: Files, folders and globs, as they were given.
        requests: Without their image.
        prompts: What the model must be able to answer, as `load_model` has them.
        save: Where copies go that show what was found.
        videos: From the moments of videos to what is asked about them; by default each request of each frame.
        options: All else that has a say in the answers, by the names of a BATCH fingerprint.
        unrecorded: Options, by name and value, that don't go together with records.
    """

    skill: str
    images: Sequence[str]
    requests: "Sequence[Request]"
    prompts: Sequence[str]
    threshold: float | None = None
    save: str | None = None
    videos: "Callable[[VideoTask], VideoTask]" = _each_frame
    options: Mapping[str, object] = field(default_factory=dict)
    unrecorded: Mapping[str, object] = field(default_factory=dict)


def run_inference(task: InferenceTask, model: ModelOptions, printing: AnswerPrinting, batch: BatchOptions) -> ExitCode:
    """Record the answers if an option makes a batch of it, else print them.

    Raises:
        UsageError: Options that can't be, or not together.
        NoInputFound: There is no photo.
    """
    from mdtool.cli.batch import BatchJob, run_batch, selection_of, video_task
    from mdtool.cli.values import check_exclusive
    from mdtool.model_selection import LoadCallbacks, load_model

    console, computing = printing.console, model.computing
    selection = selection_of(batch, task.images)
    load = partial(
        load_model, model.model, task.skill, task.prompts, computing,
        threshold=task.threshold, callbacks=LoadCallbacks(console.note, console.note, console.explain),
    )  # fmt: skip
    if not batch.wanted:
        return _print_answers(task, selection, load, console, as_json=printing.json, overwrite=batch.overwrite)
    videos = task.videos(video_task(batch))
    check_exclusive("--jsonl", {"--json": printing.json, "--save": task.save, **task.unrecorded})
    decides = {"computing": computing, **batch.sampling_settings, **task.options}
    batch_job = BatchJob(task.skill, task.requests, videos, load, decides)
    return run_batch(batch, selection, batch_job, console)


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
    targets = None if task.save is None else targets_of(sources, task.save, many, overwrite)
    model = load()
    show = choose_printer(task.requests, model, as_json, many)
    return run_and_print(sources, model, task.requests, show, console=console, save=targets, overwrite=overwrite)
