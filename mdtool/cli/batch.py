"""From the options that asking about thousands of pictures has to a batch."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mdtool.cli.options.batch import BatchOptions, TextOptions
from mdtool.errors import ExitCode, UsageError

if TYPE_CHECKING:  # what takes long to load, and --help does not need
    from engine.contract import Request
    from engine.generation.verbs import VisionModel
    from mdtool.console import Console
    from mdtool.jobs.batch.messages import VideoTask
    from mdtool.jobs.batch.side_outputs import SideOutputs
    from mdtool.media.sources.discover import Selection


def selection_of(batch: BatchOptions, named: Sequence[str]) -> "Selection":
    """UsageError if nothing is named."""
    from mdtool.media.sources.discover import Selection

    if not named and not batch.files_from:
        raise UsageError("no picture is named: give files, folders or globs, or a list by --files-from")
    if batch.null and not batch.files_from:
        raise UsageError("-0: is about the list that --files-from reads; give one")
    files_from = Path(batch.files_from) if batch.files_from else None
    if files_from and batch.files_from != "-" and not os.access(files_from, os.R_OK):
        raise UsageError(f"--files-from {files_from}: there is no such file, or it may not be read")
    return Selection(named, files_from, batch.null, batch.include, batch.exclude)


def video_task(batch: BatchOptions) -> "VideoTask":
    """Which moments of videos are asked about. UsageError for what is none."""
    from mdtool.cli.values import parsed, seconds
    from mdtool.jobs.batch.messages import VideoTask
    from mdtool.tracking.sampling import parse_sampling

    start, end = parsed("--from", seconds, batch.start), parsed("--to", seconds, batch.end)
    if end is not None and end <= (start or 0):
        raise UsageError("--to: must be later than --from, or there is nothing to do")
    return VideoTask(parse_sampling(batch.sample or "auto"), start, end)


@dataclass(frozen=True)
class BatchJob:
    """What one command asks. options: all that has a say in the answers
    besides the model and the requests, by the names of a BATCH fingerprint.
    """

    command: str
    requests: "Sequence[Request]"
    videos: "VideoTask"
    load: "Callable[[], VisionModel]"
    options: Mapping[str, object] = field(default_factory=dict)


def run_batch(batch: BatchOptions, selection: "Selection", batch_job: BatchJob, console: "Console") -> ExitCode:
    """Asks about all that is selected, and makes of the records what else is wanted."""
    from mdtool.cli.values import parse_positive_seconds, parsed, size_in_bytes
    from mdtool.jobs.batch.coordinator import BatchLimits, BatchPlan, Coordinator
    from mdtool.jobs.batch.executor import ThreadExecutor
    from mdtool.jobs.batch.messages import BatchTask
    from mdtool.jobs.batch.output_format import check_export_target, open_sink, records_path, write_export
    from mdtool.jobs.batch.progress import Progress
    from mdtool.media.sources.discover import discover
    from mdtool.records.fingerprint import BATCH, fingerprint

    form = None if batch.format == "jsonl" else batch.format
    place = records_path(batch.jsonl or "-", batch_job.command)
    rereadable = "-" not in selection.named and (not selection.files_from or selection.files_from.is_file())
    if batch.watch and not rereadable:
        raise UsageError("--watch: what is piped in can't be read again; give folders, or a file of names")
    if form and place is None:
        raise UsageError(f"--format {form}: is made beside a file of records; name that by --jsonl")
    if form and place:
        check_export_target(place, form, batch.overwrite)
    limits = BatchLimits(batch.max_errors, parse_positive_seconds("--time-budget", batch.time_budget))
    timeout = parse_positive_seconds("--timeout", batch.timeout)
    room, encode = parsed("--cache-size", size_in_bytes, batch.cache_size), None
    task = BatchTask(
        batch_job.requests, batch_job.videos, _side_outputs(batch, batch_job), timeout, dedupe=batch.dedupe
    )
    with open_sink(place, batch.overwrite) as sink:
        model = batch_job.load()
        if batch.cache:
            from mdtool.jobs.inference.embedding_cache import caching_encoder  # which loads torch

            encode = caching_encoder(model, Path(batch.cache), room, console.note)
        settings = fingerprint(
            BATCH, command=batch_job.command, model=model.name, revision=model.revision, requests=batch_job.requests,
            **batch_job.options,
        )  # fmt: skip
        common_fields = {"model": model.name, "revision": model.revision, "settings": settings}
        count = (lambda: sum(1 for _ in discover(selection))) if rereadable and not batch.watch else None
        sink.begin(settings)
        if sink.unrecognised:
            console.note(
                f"{place}: {sink.unrecognised} records there are of another version of mdtool, so that nobody knows if "
                "they hold: they stay, and their inputs are done again"
            )
        task.side_outputs.open_folders(batch.overwrite)
        plan = BatchPlan(selection, common_fields, limits, batch.ordered, batch.watch)
        progress = Progress(console, batch.progress, count)
        code = Coordinator(plan, task, ThreadExecutor(model, encode), sink, progress=progress).run()
    if form and place:
        target, tally = write_export(place, form, settings)
        console.note(f"{target}: {tally.written} inputs")
    return code


def _side_outputs(batch: BatchOptions, batch_job: BatchJob) -> "SideOutputs":
    from engine.contract import DetectRequest, PointRequest
    from mdtool.jobs.batch.side_outputs import SideOutputs
    from recipes.draw import colours_of

    colours = colours_of(one.prompt for one in batch_job.requests if isinstance(one, DetectRequest | PointRequest))
    if isinstance(batch, TextOptions):
        return SideOutputs(batch.sidecar_mode if batch.sidecar else None, embed=batch.embed)
    draw, crops = getattr(batch, "draw", None), getattr(batch, "save_crops", None)
    return SideOutputs(draw=Path(draw) if draw else None, crops=Path(crops) if crops else None, colours=colours)
