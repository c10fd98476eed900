"""The options that asking about thousands of pictures has."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import typer

EXPORT_OPTION = typer.Option(help="Make this of the records too, beside them.")


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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False
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
    format: Annotated[str | None, EXPORT_OPTION] = None
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
    def sampling_settings(self) -> dict[str, object]:
        """What has a say in which moments of videos are asked about."""
        return {"sample": self.sample, "start": self.start, "end": self.end}


Table = Annotated[Literal["jsonl", "csv", "parquet"] | None, EXPORT_OPTION]
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

    format: Annotated[Literal["jsonl", "csv", "parquet", "coco", "yolo"] | None, EXPORT_OPTION] = None
    draw: Draw = None
    save_crops: Annotated[
        str | None, typer.Option(help="Cut what was found out, into this folder, by label.", metavar="DIR")
    ] = None
