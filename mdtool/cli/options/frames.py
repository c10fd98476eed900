"""Which frames the model is asked about, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.tracking.tiles import TileGrid as Grid


class OnError(StrEnum):
    stop = "stop"
    blank = "blank"


Threshold = Annotated[
    float | None, typer.Option(help="How sure the model must be, 0 to 1, if it says so. Default: the model's.")
]
Sample = Annotated[str, typer.Option(help="Frames the model looks at: auto, every, N (one in N), fps=F.")]
OnErrorOption = Annotated[OnError, typer.Option(help="If the model fails on a frame: stop, or blank that frame.")]
TileGrid = Annotated[
    str | None,
    typer.Option(
        help="Let the model see so many overlapping tiles too, COLUMNSxROWS such as 2x2, for small objects.",
        metavar="CxR",
    ),
]


@dataclass(frozen=True)
class SpanOptions:
    """Which part of a video is worked on."""

    start: Annotated[
        str | None,
        typer.Option("--from", help="Work from this time on (90, 1:30 or 0:01:30.5); frames before stay as they are."),
    ] = None
    end: Annotated[str | None, typer.Option("--to", help="Work up to this time; frames after stay as they are.")] = None

    @property
    def seconds(self) -> tuple[float | None, float | None]:
        """UsageError for what is no time."""
        from mdtool.cli.values import parsed, seconds

        return parsed("--from", seconds, self.start), parsed("--to", seconds, self.end)


@dataclass(frozen=True)
class FrameOptions:
    """Which frames the model is asked about. What becomes of those beyond max_calls is for each command to say."""

    sample: Sample = "auto"
    max_calls: Annotated[int | None, typer.Option(min=1)] = None
    tiles: TileGrid = None

    @property
    def grid(self) -> "Grid | None":
        """UsageError for what can't be."""
        from mdtool.cli.values import parsed
        from mdtool.tracking.tiles import parse_tiles

        return parsed("--tiles", parse_tiles, self.tiles)

    def request(
        self, prompts: Sequence[str], span: SpanOptions, on_error: OnError, threshold: float | None = None
    ) -> "AnalysisRequest":
        """UsageError for what can't be asked."""
        from mdtool.pipeline.annotate import AnalysisRequest
        from mdtool.tracking.sampling import parse_sampling

        sampling, blank = parse_sampling(self.sample), on_error is OnError.blank
        return AnalysisRequest(tuple(prompts), threshold, sampling, self.max_calls, *span.seconds, blank_errors=blank)
