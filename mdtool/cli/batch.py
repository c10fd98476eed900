"""The options that asking about thousands of pictures has, and how they become a batch."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from mdtool.cli import options
from mdtool.errors import Exit, UsageError

if TYPE_CHECKING:  # what takes long to load, and --help does not need
    from engine.contract import Model, Request
    from mdtool.console import Console
    from mdtool.jobs.batch.messages import VideoTask
    from mdtool.jobs.batch.side_outputs import SideOutputs
    from mdtool.media.sources.discover import Selection


MADE_BESIDE = typer.Option(help="Make this of the records too, beside them.")


@dataclass(frozen=True)
class BatchOptions:
    """What caption, query, detect and point have in common. Any of them makes a batch of it, but overwrite."""

    jsonl: Annotated[
        str | None,
        typer.Option(
            help="Write a record of each picture, as JSON Lines, to a file, a folder, or - for stdout. Run again, it "
            "goes on with what is not done.",
            metavar="OUT|-",
        ),
    ] = None
    overwrite: options.Overwrite = False
    files_from: Annotated[
        str | None, typer.Option(help="Read more names from a file, or - for stdin; one a line.", metavar="LIST|-")
    ] = None
    null: Annotated[bool, typer.Option("--null", "-0", help="Names in the list end with a zero byte.")] = False
    include: Annotated[
        list[str], typer.Option(help="Of folders and archives take only what matches, such as '*.jpg'. Repeatable.")
    ] = field(default_factory=list)
    exclude: Annotated[list[str], typer.Option(help="Leave out what matches, such as 'raw/**'. Repeatable.")] = field(
        default_factory=list
    )
    format: Annotated[str | None, MADE_BESIDE] = None
    sample: Annotated[
        str | None, typer.Option(help="Frames of videos to ask about: auto, every, N (one in N), fps=F.")
    ] = None
    start: Annotated[
        str | None, typer.Option("--from", help="Ask about videos from this time on (90, 1:30 or 0:01:30.5).")
    ] = None
    end: Annotated[str | None, typer.Option("--to", help="Ask about videos up to this time.")] = None
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Write records in the order of the inputs, not as they finish.")
    ] = False
    dedupe: Annotated[bool, typer.Option("--dedupe", help="Ask only once about pictures that are equal.")] = False
    cache: Annotated[
        str | None,
        typer.Option(help="Keep what the model sees of pictures here, for asking about them again.", metavar="DIR"),
    ] = None
    cache_size: Annotated[str, typer.Option(help="What is kept takes no more room than this.")] = "10GB"
    watch: Annotated[bool, typer.Option("--watch", help="Go on with pictures as they appear, until interrupted.")] = (
        False
    )
    time_budget: Annotated[
        str | None,
        typer.Option(help="Begin nothing, not even a frame, after this time (6h, 90m); code 75 if more is left."),
    ] = None
    timeout: Annotated[
        str | None, typer.Option(help="Give an input up that takes longer to read, or a frame of it in videos.")
    ] = None
    max_errors: Annotated[int | None, typer.Option(min=0, help="End when more inputs than this have failed.")] = None
    progress: Annotated[
        Literal["auto", "json"], typer.Option(help="How progress is told on stderr; json: an object a second.")
    ] = "auto"

    @property
    def wanted(self) -> bool:
        """Whether any was given that makes a batch of it."""
        return replace(self, overwrite=False) != type(self)()

    @property
    def moments(self) -> dict[str, object]:
        """What has a say in which moments of videos are asked about."""
        return {"sample": self.sample, "start": self.start, "end": self.end}


Table = Annotated[Literal["jsonl", "csv", "parquet"] | None, MADE_BESIDE]
Draw = Annotated[str | None, typer.Option(help="Draw what was found on copies in this folder too.", metavar="DIR")]


@dataclass(frozen=True)
class TextOptions(BatchOptions):
    """Of what answers in words."""

    format: Table = None
    sidecar: Annotated[
        Literal["txt"] | None, typer.Option(help="Write the text beside each picture too: photo.txt for photo.jpg.")
    ] = None
    sidecar_mode: Annotated[
        Literal["skip", "overwrite", "append", "prepend"],
        typer.Option(help="What becomes of a text that is beside a picture already."),
    ] = "skip"
    embed: Annotated[
        bool, typer.Option("--embed", help="Write the text into each picture's own file too, as XMP and IPTC caption.")
    ] = False


@dataclass(frozen=True)
class PointOptions(BatchOptions):
    """Of what answers with points."""

    format: Table = None
    draw: Draw = None


@dataclass(frozen=True)
class BoxOptions(BatchOptions):
    """Of what answers with boxes."""

    format: Annotated[Literal["jsonl", "csv", "parquet", "coco", "yolo"] | None, MADE_BESIDE] = None
    draw: Draw = None
    save_crops: Annotated[
        str | None, typer.Option(help="Cut what was found out, into this folder, by label.", metavar="DIR")
    ] = None


def with_options(kind: type[BatchOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For a command that has a parameter `batch`: it takes the options of `kind` in place of it."""
    hints = get_type_hints(kind, include_extras=True)

    def made(command: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in inspect.signature(command).parameters.values() if one.name != "batch"]
        given = [
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=[] if one.name in ("include", "exclude") else one.default,
                annotation=hints[one.name],
            )
            for one in fields(kind)
        ]

        @wraps(command)
        def wrapper(**values: Any) -> None:
            batch = kind(**{one.name: values.pop(one.name) for one in fields(kind)})
            command(**values, batch=batch)

        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        wrapper.__signature__ = inspect.Signature([*own, *given])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {one.name: one.annotation for one in (*own, *given)}
        return wrapper

    return made


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
class Asking:
    """What one command asks. options: all that has a say in the answers
    besides the model and the requests, by the names of a BATCH fingerprint.
    """

    command: str
    requests: "Sequence[Request]"
    videos: "VideoTask"
    load: "Callable[[], Model]"
    threshold: float | None = None
    options: Mapping[str, object] = field(default_factory=dict)


def run_batch(batch: BatchOptions, selection: "Selection", asking: Asking, console: "Console") -> Exit:
    """Asks about all that is selected, and makes of the records what else is wanted."""
    from mdtool.cli.values import parsed, positive, size_in_bytes
    from mdtool.jobs.batch.coordinator import Coordinator, Limits, Plan
    from mdtool.jobs.batch.executor import ThreadExecutor
    from mdtool.jobs.batch.messages import Task
    from mdtool.jobs.batch.output_format import check_form, make_form, opened, place_of
    from mdtool.jobs.batch.progress import Progress
    from mdtool.media.sources.discover import listed
    from mdtool.records.fingerprint import BATCH, fingerprint

    form = None if batch.format == "jsonl" else batch.format
    place = place_of(batch.jsonl or "-", asking.command)
    rereadable = "-" not in selection.named and (not selection.files_from or selection.files_from.is_file())
    if batch.watch and not rereadable:
        raise UsageError("--watch: what is piped in can't be read again; give folders, or a file of names")
    if form and place is None:
        raise UsageError(f"--format {form}: is made beside a file of records; name that by --jsonl")
    if form and place:
        check_form(place, form, batch.overwrite)
    limits = Limits(batch.max_errors, positive("--time-budget", batch.time_budget))
    timeout = positive("--timeout", batch.timeout)
    room, encode = parsed("--cache-size", size_in_bytes, batch.cache_size), None
    task = Task(
        asking.requests, asking.threshold, asking.videos, _side_outputs(batch, asking), timeout, dedupe=batch.dedupe
    )
    with opened(place, batch.overwrite) as sink:
        model = asking.load()
        if batch.cache:
            from mdtool.jobs.inference.embedding_cache import encoder  # which loads torch

            encode = encoder(model, Path(batch.cache), room, console.note)
        settings = fingerprint(
            BATCH, command=asking.command, model=model.name, revision=model.revision, requests=asking.requests,
            threshold=asking.threshold, **asking.options,
        )  # fmt: skip
        about = {"model": model.name, "revision": model.revision, "settings": settings}
        count = (lambda: sum(1 for _ in listed(selection))) if rereadable and not batch.watch else None
        sink.begin(settings)
        if sink.unrecognised:
            console.note(
                f"{place}: {sink.unrecognised} records there are of another version of mdtool, so that nobody knows if "
                "they hold: they stay, and their inputs are done again"
            )
        task.side_outputs.open_folders(batch.overwrite)
        plan = Plan(selection, about, limits, batch.ordered, batch.watch)
        progress = Progress(console, batch.progress, count)
        code = Coordinator(plan, task, ThreadExecutor(model, encode), sink, progress).run()
    if form and place:
        target, tally = make_form(place, form, settings)
        console.note(f"{target}: {tally.written} inputs")
    return code


def _side_outputs(batch: BatchOptions, asking: Asking) -> "SideOutputs":
    from engine.contract import DetectRequest, PointRequest
    from mdtool.jobs.batch.side_outputs import SideOutputs
    from recipes.draw import colours_of

    colours = colours_of(one.prompt for one in asking.requests if isinstance(one, DetectRequest | PointRequest))
    if isinstance(batch, TextOptions):
        return SideOutputs(batch.sidecar_mode if batch.sidecar else None, embed=batch.embed)
    draw, crops = getattr(batch, "draw", None), getattr(batch, "save_crops", None)
    return SideOutputs(draw=Path(draw) if draw else None, crops=Path(crops) if crops else None, colours=colours)
