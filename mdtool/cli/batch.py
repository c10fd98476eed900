"""Run a batch as its options say."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mdtool.cli.options.batch import BatchOptions, TextOptions
from mdtool.errors import ExitCode, UsageError

if TYPE_CHECKING:  # what takes long to load, and --help does not need
    from engine.contract import Request
    from engine.generation.verbs import VisionModel
    from mdtool.console import Console
    from mdtool.jobs.batch.executor import Executor
    from mdtool.jobs.batch.messages import VideoTask
    from mdtool.jobs.batch.side_outputs import SideOutputs
    from mdtool.jobs.crash_journal import CrashJournal
    from mdtool.jobs.inference.model_source import ModelSource
    from mdtool.media.sources.discover import Selection


def selection_of(batch: BatchOptions, named: Sequence[str]) -> "Selection":
    """Return the inputs that the command line selects. Raises UsageError if there are none, or for a bad list."""
    from mdtool.cli.values import parsed
    from mdtool.media.file_types import UNFINISHED
    from mdtool.media.sources.discover import Selection
    from mdtool.media.sources.shard import parse_shard

    if not named and not batch.files_from:
        raise UsageError("no input is named: give files, folders or globs, or a list with --files-from")
    if batch.null and not batch.files_from:
        raise UsageError("-0: needs the list of --files-from; give one, or leave -0 out")
    files_from = Path(batch.files_from) if batch.files_from else None
    if files_from and batch.files_from != "-" and not os.access(files_from, os.R_OK):
        raise UsageError(f"--files-from {files_from}: there is no such file, or it can't be read")
    shard = parsed("--shard", parse_shard, batch.shard)
    if shard and batch.watch:
        raise UsageError("--shard: ends, and --watch does not; leave one of them out")
    unfinished = [f"*{suffix}" for suffix in UNFINISHED] if batch.watch else []
    return Selection(named, files_from, batch.null, batch.include, [*batch.exclude, *unfinished], shard)


def video_task(batch: BatchOptions) -> "VideoTask":
    """Return which frames of videos are analysed. Raises UsageError for bad values."""
    from mdtool.cli.values import parsed, seconds
    from mdtool.jobs.batch.messages import VideoTask
    from mdtool.tracking.sampling import parse_sampling

    start, end = parsed("--from", seconds, batch.start), parsed("--to", seconds, batch.end)
    if end is not None and end <= (start or 0):
        raise UsageError("--to: must be later than --from")
    return VideoTask(parse_sampling(batch.sample or "auto"), start, end)


@dataclass(frozen=True)
class BatchJob:
    """What one command runs on every input.

    Attributes:
        command: The name of the command.
        requests: Without their image.
        videos: Which frames of videos are analysed.
        load: Loads the model, and checks the requests.
        source: The same model, for other processes.
        options: All other options that change the results, by their names in a BATCH fingerprint.
        draw: Where annotated copies go; None for nowhere.
    """

    command: str
    requests: "Sequence[Request]"
    videos: "VideoTask"
    load: "Callable[[], VisionModel]"
    source: "ModelSource"
    options: Mapping[str, object] = field(default_factory=dict)
    draw: str | None = None


def run_batch(batch: BatchOptions, selection: "Selection", job: BatchJob, console: "Console") -> ExitCode:
    """Run the model on all selected inputs, write records and side outputs, and export the records.

    Raises:
        UsageError: Options that can't be, or not together.
        OutputError: The records can't be written.
    """
    from mdtool.cli.values import parse_positive_seconds, parsed, size_in_bytes
    from mdtool.jobs.batch.batch_records import shard_record
    from mdtool.jobs.batch.coordinator import BatchLimits, BatchPlan, Coordinator
    from mdtool.jobs.batch.messages import BatchTask
    from mdtool.jobs.batch.output_format import check_export_target, open_sink, records_path, write_export
    from mdtool.jobs.batch.progress import Progress
    from mdtool.jobs.batch.results_log import ResultsLog
    from mdtool.jobs.crash_journal import CrashJournal
    from mdtool.media.sources.discover import discover
    from mdtool.records.fingerprint import BATCH, fingerprint

    form = None if batch.format == "jsonl" else batch.format
    place = records_path(batch.jsonl or "-", job.command)
    rereadable = "-" not in selection.named and (not selection.files_from or selection.files_from.is_file())
    if batch.watch and not rereadable:
        raise UsageError("--watch: can't watch stdin; give folders, or a file of names")
    if form and place is None:
        raise UsageError(f"--format {form}: is exported next to a file of records; name that with --jsonl")
    if form and place:
        check_export_target(place, form, batch.overwrite)
    limits = BatchLimits(batch.max_errors, parse_positive_seconds("--time-budget", batch.time_budget))
    timeout = parse_positive_seconds("--timeout", batch.timeout)
    parsed("--cache-size", size_in_bytes, batch.cache_size)
    _check_cluster(batch, selection)
    task = BatchTask(job.requests, job.videos, _side_outputs(batch, job), timeout, dedupe=batch.dedupe)
    with ExitStack() as stack:
        sink = stack.enter_context(open_sink(place, batch.overwrite))
        model = job.load()
        settings = fingerprint(
            BATCH, command=job.command, model=model.name, revision=model.revision, requests=job.requests,
            **job.options,
        )  # fmt: skip
        common_fields = {"model": model.name, "revision": model.revision, "settings": settings}
        count = (lambda: sum(1 for _ in discover(selection))) if rereadable and not batch.watch else None
        sink.begin(settings)
        if sink.unrecognised:
            console.note(
                f"{place}: {sink.unrecognised} records are from another version of mdtool and may be out of date: they "
                "stay, and their inputs are processed again"
            )
        task.side_outputs.open_folders(batch.overwrite)
        plan = BatchPlan(selection, common_fields, limits, batch.ordered, batch.watch)
        noted = place.with_name(f".{place.name}.journal") if place and isinstance(sink, ResultsLog) else None
        journal = stack.enter_context(CrashJournal(noted))
        executor = _executor(batch, job, model, console, journal=journal, stack=stack)
        del model  # which the executor may hold, or not
        progress = Progress(console, batch.progress, count)
        code = Coordinator(plan, task, executor, sink, progress=progress, journal=journal).run()
        if selection.shard and code != ExitCode.INCOMPLETE:
            sink.end_shard(shard_record(selection.shard, progress.inputs, settings))
    if form and place:
        target, tally = write_export(place, form, settings)
        console.note(f"{target}: {tally.written} inputs")
    return code


def _check_cluster(batch: BatchOptions, selection: "Selection") -> None:
    """Raise UsageError for options that can't be used with a cluster, or only with one."""
    from mdtool.cli.values import check_exclusive

    batch.check()
    if batch.ray:
        check_exclusive("--ray", {"--dedupe": batch.dedupe, "--watch": batch.watch, "--cache": batch.cache})
        if "-" in selection.named:
            raise UsageError("--ray: other machines can't read stdin; give files")


def _executor(
    batch: BatchOptions,
    job: BatchJob,
    model: "VisionModel",
    console: "Console",
    *,
    journal: "CrashJournal",
    stack: ExitStack,
) -> "Executor":
    """Return what runs the model: this process, or a cluster that the stack disconnects."""
    if batch.ray:
        from mdtool.cluster.ray_executor import RayExecutor

        pool = stack.enter_context(batch.connected(job.source.computing.device))
        console.note(f"actors on Ray: {pool.share}")
        return RayExecutor(pool, job.source, (model.name, model.revision))
    from mdtool.jobs.batch.executor import ThreadExecutor

    if not batch.cache:
        return ThreadExecutor(model, journal=journal)
    from mdtool.cli.values import parsed, size_in_bytes
    from mdtool.jobs.inference.embedding_cache import caching_encoder  # which loads torch

    room = parsed("--cache-size", size_in_bytes, batch.cache_size)
    return ThreadExecutor(model, caching_encoder(model, Path(batch.cache), room, console.note), journal=journal)


def _side_outputs(batch: BatchOptions, job: BatchJob) -> "SideOutputs":
    from engine.contract import DetectRequest, PointRequest
    from mdtool.jobs.batch.side_outputs import SideOutputs
    from recipes.draw import colours_of

    colours = colours_of(one.prompt for one in job.requests if isinstance(one, DetectRequest | PointRequest))
    if isinstance(batch, TextOptions):
        return SideOutputs(batch.sidecar_mode if batch.sidecar else None, embed=batch.embed)
    crops = getattr(batch, "save_crops", None)
    return SideOutputs(draw=_draw_folder(job.draw), crops=Path(crops) if crops else None, colours=colours)


def _draw_folder(draw: str | None) -> Path | None:
    """Return the folder of annotated copies. Raises UsageError for the name of an image, since there may be many."""
    from mdtool.media.image.save_image import FORMATS

    if draw is None:
        return None
    if not draw or (draw.lower().endswith(tuple(FORMATS)) and not os.path.isdir(draw)):
        raise UsageError(f"--draw {draw}: takes a folder where records are written")
    return Path(draw)
