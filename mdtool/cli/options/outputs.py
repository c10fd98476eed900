"""Of the commands that make changed copies of videos and photos: of what, where they go, and how they are written."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mdtool.pipeline.run import LiveSettings, OutputOptions

Media = Annotated[
    list[str],
    typer.Argument(
        help="Videos, photos, animations, folders, globs, addresses, camera:0, or - for stdin.", metavar="INPUT..."
    ),
]
Findings = Annotated[str | None, typer.Option(help="Write what was found to this file, as JSON Lines (- for stdout).")]


def output_named(mark: str) -> Any:
    """--output, for copies that have this mark in their names."""
    return typer.Option(
        "--output",
        "-o",
        help=f"A file, a folder (which mirrors the input tree), or - for stdout. Default: NAME.{mark}.EXT.",
    )


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]


@dataclass(frozen=True)
class EncodingOptions:
    codec: Annotated[
        str | None,
        typer.Option(
            help="Video encoder, such as libx264, libx265, h264_nvenc. Default: libx264 where the format takes it."
        ),
    ] = None
    crf: Annotated[
        int | None, typer.Option(help="Constant quality of the encoder; lower is better. Default: 18 for libx264.")
    ] = None
    preset: Annotated[str | None, typer.Option(help="Speed preset of the encoder. Default: medium for libx264.")] = None
    pixel_format: Annotated[str | None, typer.Option(help="Pixel format to encode in. Default: the source's.")] = None
    format: Annotated[
        str | None, typer.Option(help="Container format. Default: by the output's name; matroska for stdout.")
    ] = None
    keep_metadata: Annotated[
        bool, typer.Option("--keep-metadata", help="Keep tags such as place, time, device and author.")
    ] = False

    @property
    def output_options(self) -> "OutputOptions":
        from mdtool.media.video.encoding import Encoding
        from mdtool.pipeline.run import OutputOptions

        encoding = Encoding(self.codec, self.crf, self.preset, self.pixel_format)
        return OutputOptions(encoding, self.format, self.keep_metadata)


@dataclass(frozen=True)
class LiveOptions:
    """How a camera or stream is worked on."""

    delay: Annotated[
        str, typer.Option(help="For cameras and streams: how long a frame waits until it is known what it shows.")
    ] = "1"
    duration: Annotated[str | None, typer.Option(help="For cameras and streams: end after this time.")] = None
    segment: Annotated[
        str | None, typer.Option(help="For cameras and streams: begin another file each time this has passed (10m).")
    ] = None

    @property
    def live(self) -> "LiveSettings":
        """UsageError for what is no time above 0."""
        from mdtool.cli.values import parse_positive_seconds
        from mdtool.pipeline.run import LiveSettings

        return LiveSettings(
            parse_positive_seconds("--delay", self.delay),
            parse_positive_seconds("--duration", self.duration),
            parse_positive_seconds("--segment", self.segment),
        )
