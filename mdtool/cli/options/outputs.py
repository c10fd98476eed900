"""Options of commands that write annotated or redacted copies of videos and images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mdtool.pipeline.run import LiveSettings, OutputOptions

Media = Annotated[
    list[str],
    typer.Argument(
        help="Videos, images, animations, folders, globs, URLs, camera:0, or - for stdin.", metavar="INPUT..."
    ),
]
Findings = Annotated[
    str | None,
    typer.Option(help="Write the findings to this file as JSON Lines (- for stdout).", metavar="FILE|-"),
]


ForceFindings = Annotated[
    bool,
    typer.Option(
        "--force-findings",
        help="Use recorded findings even if the input's content (SHA-256) or its name has changed since.",
    ),
]


def output_named(mark: str) -> Any:
    """Return the option --output of a command whose copies have this mark in their names by default."""
    return typer.Option(
        "--output",
        "-o",
        help="Output file, folder (the input tree is mirrored in it), or - for stdout. "
        f"Default: NAME.{mark}.EXT next to the input.",
        metavar="PATH|-",
    )


ReportOnly = Annotated[bool, typer.Option("--report-only", help="Analyse and report only; write no copy.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-f", help="Overwrite existing outputs.")]


@dataclass(frozen=True)
class EncodingOptions:
    """How copies are encoded."""

    codec: Annotated[
        str | None,
        typer.Option(
            help="Video encoder, such as libx264, libx265 or h264_nvenc. Default: libx264 if the container takes it.",
            metavar="NAME",
        ),
    ] = None
    crf: Annotated[
        int | None,
        typer.Option(help="Constant rate factor; lower is better quality. Default: 18 for libx264.", metavar="N"),
    ] = None
    preset: Annotated[
        str | None, typer.Option(help="Encoder speed preset. Default: medium for libx264.", metavar="NAME")
    ] = None
    pixel_format: Annotated[
        str | None,
        typer.Option(help="Pixel format to encode in, such as yuv420p. Default: the source's.", metavar="NAME"),
    ] = None
    container: Annotated[
        str | None,
        typer.Option(
            help="Container format, such as mp4 or matroska. Default: by the output's extension; matroska for stdout.",
            metavar="NAME",
        ),
    ] = None
    keep_metadata: Annotated[
        bool, typer.Option("--keep-metadata", help="Keep metadata such as location, time, device and author.")
    ] = False

    @property
    def output_options(self) -> "OutputOptions":
        """The options of the output, for the pipeline."""
        from mdtool.media.video.encoding import Encoding
        from mdtool.pipeline.run import OutputOptions

        encoding = Encoding(self.codec, self.crf, self.preset, self.pixel_format)
        return OutputOptions(encoding, self.container, self.keep_metadata)


@dataclass(frozen=True)
class LiveOptions:
    """How a camera or stream is processed."""

    delay: Annotated[
        str,
        typer.Option(
            help="Live input: longest wait of a frame for its findings, after which redact and moderate mask it whole.",
            metavar="TIME",
        ),
    ] = "1"
    duration: Annotated[str | None, typer.Option(help="Live input: stop after this time (10m).", metavar="TIME")] = None
    segment: Annotated[
        str | None, typer.Option(help="Live input: start a new output file each time this has passed.", metavar="TIME")
    ] = None

    @property
    def live(self) -> "LiveSettings":
        """The parsed options. Raises UsageError for anything but a time above 0."""
        from mdtool.cli.values import parse_positive_seconds
        from mdtool.pipeline.run import LiveSettings

        return LiveSettings(
            parse_positive_seconds("--delay", self.delay),
            parse_positive_seconds("--duration", self.duration),
            parse_positive_seconds("--segment", self.segment),
        )
