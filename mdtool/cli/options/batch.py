"""Options for batches: records of thousands of inputs, resumed where they ended."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import typer

from mdtool.cli.options.cluster import ClusterOptions
from mdtool.cli.options.outputs import Overwrite

EXPORT = typer.Option(help="Also export the records to this format, next to the JSON Lines file.")


@dataclass(frozen=True)
class BatchOptions(ClusterOptions):
    """Options that caption, query, detect and point have in common. Any but --overwrite makes a batch."""

    jsonl: Annotated[
        str | None,
        typer.Option(
            help="Write one record per input as JSON Lines to a file, a folder, or - for stdout. Run again to resume.",
            metavar="FILE|DIR|-",
        ),
    ] = None
    overwrite: Overwrite = False
    files_from: Annotated[
        str | None,
        typer.Option(help="Read more input names from this file, or - for stdin, one per line.", metavar="FILE|-"),
    ] = None
    null: Annotated[bool, typer.Option("--null", "-0", help="Names in --files-from are NUL-delimited.")] = False
    include: Annotated[
        list[str],
        typer.Option(
            help="In folders and archives, take only matching names, such as '*.jpg'. Repeatable.", metavar="PATTERN"
        ),
    ] = field(default_factory=list)
    exclude: Annotated[
        list[str], typer.Option(help="Skip matching names, such as 'raw/**'. Repeatable.", metavar="PATTERN")
    ] = field(default_factory=list)
    format: Annotated[str | None, EXPORT] = None
    sample: Annotated[
        str | None,
        typer.Option(help="Video frames to analyse: auto, every, N (one in N) or fps=F.", metavar="SAMPLING"),
    ] = None
    start: Annotated[
        str | None,
        typer.Option("--from", help="Start of the time range in videos (90, 1:30 or 0:01:30.5).", metavar="TIME"),
    ] = None
    end: Annotated[str | None, typer.Option("--to", help="End of the time range in videos.", metavar="TIME")] = None
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Write records in input order, not in order of completion.")
    ] = False
    dedupe: Annotated[bool, typer.Option("--dedupe", help="Run the model only once on identical images.")] = False
    cache: Annotated[
        str | None,
        typer.Option(help="Embedding cache: keep encoded images in this folder for later runs.", metavar="DIR"),
    ] = None
    cache_size: Annotated[str, typer.Option(help="Maximum size of the embedding cache.", metavar="SIZE")] = "10GB"
    watch: Annotated[bool, typer.Option("--watch", help="Keep processing new images until interrupted.")] = False
    time_budget: Annotated[
        str | None,
        typer.Option(help="Start no new work after this time (6h, 90m); exit code 75 if work is left.", metavar="TIME"),
    ] = None
    timeout: Annotated[
        str | None,
        typer.Option(help="Skip an input, or a video frame, that takes longer than this to read.", metavar="TIME"),
    ] = None
    max_errors: Annotated[
        int | None, typer.Option(min=0, help="Stop when more inputs than this have failed.", metavar="N")
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            help="Take one share of the inputs, I of N, for job arrays; `mdtool merge` joins the records.",
            metavar="I/N",
        ),
    ] = None
    progress: Annotated[
        Literal["auto", "json"],
        typer.Option(help="Progress on stderr: a bar or log lines (auto), or one JSON object per second (json)."),
    ] = "auto"

    @property
    def wanted(self) -> bool:
        """Whether any option was given that makes a batch."""
        return replace(self, overwrite=False) != type(self)()

    @property
    def sampling_settings(self) -> dict[str, object]:
        """The options that select frames of videos, by option name."""
        return {"sample": self.sample, "start": self.start, "end": self.end}


Table = Annotated[Literal["jsonl", "csv", "parquet"] | None, EXPORT]


@dataclass(frozen=True)
class TextOptions(BatchOptions):
    """Batch options of skills that answer with text."""

    format: Table = None
    sidecar: Annotated[
        Literal["txt"] | None, typer.Option(help="Also write the text to a sidecar file: photo.txt for photo.jpg.")
    ] = None
    sidecar_mode: Annotated[
        Literal["skip", "overwrite", "append", "prepend"],
        typer.Option(help="What to do with a sidecar file that exists."),
    ] = "skip"
    embed: Annotated[
        bool, typer.Option("--embed", help="Also write the text into each image file, as XMP and IPTC caption.")
    ] = False


@dataclass(frozen=True)
class PointOptions(BatchOptions):
    """Batch options of skills that answer with points."""

    format: Table = None


@dataclass(frozen=True)
class BoxOptions(BatchOptions):
    """Batch options of skills that answer with boxes."""

    format: Annotated[Literal["jsonl", "csv", "parquet", "coco", "yolo"] | None, EXPORT] = None
    save_crops: Annotated[
        str | None, typer.Option(help="Also save a crop of each detection in this folder, by label.", metavar="DIR")
    ] = None
