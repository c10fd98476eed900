"""Options that select the frames to analyse, and how they are analysed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.tracking.tiles import TileGrid as Grid


class OnError(StrEnum):
    """What to do with a frame on which the model fails."""

    stop = "stop"
    blank = "blank"


class RotateView(StrEnum):
    """The view of a picture that is analysed."""

    auto = "auto"
    upright = "0"
    right = "90"
    upside_down = "180"
    left = "270"

    def degrees(self, model: str) -> int | None:
        """Return the degrees clockwise by which a model of this name sees pictures; None: it searches."""
        from mdtool.tracking.turned_views import view_for

        return view_for(model) if self is RotateView.auto else int(self)


RotateViewOption = Annotated[
    RotateView,
    typer.Option(
        help="Turn pictures clockwise before they are analysed (the output is not turned): 0, 90, 180, 270, or auto: "
        "where the face detector finds nothing, also turned on a few frames, and on all if that finds faces."
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Confidence threshold, 0 to 1, for models that report scores. Default: the model's.", metavar="SCORE"
    ),
]
Sample = Annotated[str, typer.Option(help="Frames to analyse: auto, every, N (one in N) or fps=F.", metavar="SAMPLING")]
OnErrorOption = Annotated[
    OnError, typer.Option(help="If the model fails on a frame: stop, or blank (mask the whole frame).")
]
TileGrid = Annotated[
    str | None,
    typer.Option(
        help="Also analyse overlapping tiles, COLUMNSxROWS such as 2x2, to find small objects.", metavar="CxR"
    ),
]


@dataclass(frozen=True)
class SpanOptions:
    """The time range of a video that is processed."""

    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Start of the time range (90, 1:30 or 0:01:30.5); frames outside it stay unchanged.",
            metavar="TIME",
        ),
    ] = None
    end: Annotated[str | None, typer.Option("--to", help="End of the time range.", metavar="TIME")] = None

    @property
    def seconds(self) -> tuple[float | None, float | None]:
        """Start and end in seconds. Raises UsageError for anything but a time."""
        from mdtool.cli.values import parsed, seconds

        return parsed("--from", seconds, self.start), parsed("--to", seconds, self.end)


@dataclass(frozen=True)
class FrameOptions:
    """Which frames are analysed. Each command says what becomes of frames beyond max_calls."""

    sample: Sample = "auto"
    max_calls: Annotated[int | None, typer.Option(min=1)] = None
    tiles: TileGrid = None
    rotate_view: RotateViewOption = RotateView.auto

    @property
    def grid(self) -> "Grid | None":
        """The parsed --tiles. Raises UsageError for an impossible grid."""
        from mdtool.cli.values import parsed
        from mdtool.tracking.tiles import parse_tiles

        return parsed("--tiles", parse_tiles, self.tiles)

    def request(
        self, prompts: Sequence[str], span: SpanOptions, on_error: OnError, threshold: float | None = None
    ) -> "AnalysisRequest":
        """Return what a run detects, and on which frames. Raises UsageError for values that can't be."""
        from mdtool.pipeline.annotate import AnalysisRequest
        from mdtool.tracking.sampling import parse_sampling

        sampling, blank = parse_sampling(self.sample), on_error is OnError.blank
        return AnalysisRequest(tuple(prompts), threshold, sampling, self.max_calls, *span.seconds, blank_errors=blank)
