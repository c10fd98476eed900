"""What goes on the page, as plain data. Times are in seconds, as the findings have them.

Words may be any that a person or a file system can give, names that are no text too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

MAX_SECONDS = 1e9  # seconds; a time beyond is a slip
SIGNATURES: tuple[tuple[bytes, Literal["jpeg", "png"]], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
)


@dataclass(frozen=True)
class Row:
    """A rule of a policy, or a label.

    hit: what the policy says of it; None where none was asked.
    objects: different ones, as the tracker counts them; None where nothing was tracked, as with a question.
    frames: on which it was found. spans: when, as (start, end), in any order; they may overlap.
    largest: the largest area on any frame, as a share of that frame, 0..1; None where there are no boxes.
    Raises ValueError where a span can't be.
    """

    name: str
    hit: bool | None = None
    objects: int | None = None
    frames: int = 0
    spans: Sequence[tuple[float, float]] = ()
    largest: float | None = None

    def __post_init__(self) -> None:
        for start, end in self.spans:
            if not -MAX_SECONDS < start <= end < MAX_SECONDS:
                raise ValueError(f"{self.name}: a span can't go from {start} to {end} seconds")


@dataclass(frozen=True)
class EmbeddedImage:
    """A JPEG or PNG file. Raises ValueError for anything else."""

    data: bytes
    kind: Literal["jpeg", "png"] = field(init=False)

    def __post_init__(self) -> None:
        kind = next((kind for magic, kind in SIGNATURES if self.data.startswith(magic)), None)
        if kind is None:
            raise ValueError("the report can hold pictures as JPEG and PNG only")
        object.__setattr__(self, "kind", kind)


@dataclass(frozen=True)
class Example:
    """A frame with what was found on it, drawn already. time: None for a photo."""

    picture: EmbeddedImage
    labels: Sequence[str] = ()
    time: float | None = None


@dataclass(frozen=True)
class Attention:
    """seconds: how long this person looked at each of these: at someone, at something, or out of the frame.

    Of a photo it is only told at which.
    """

    person: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Chapter:
    """What is to be said of one input; what it lacks is left out.

    start: time of the first frame. duration: None for a photo. frames: how many there are; looks: of them, those that
    the model saw. notes: sentences that a reader has to know, such as what could not be judged.
    cuts: times of scene cuts. heat: a heat map over the picture, of where things were or where people looked, as
    heat_shows says. counts: objects of each label.
    Raises ValueError where a time can't be.
    """

    source: str
    model: str = ""
    prompts: Sequence[str] = ()
    start: float = 0.0
    duration: float | None = None
    frames: int = 0
    keyframes: int = 0
    notes: Sequence[str] = ()
    rows: Sequence[Row] = ()
    cuts: Sequence[float] = ()
    examples: Sequence[Example] = ()
    heat: EmbeddedImage | None = None
    heat_shows: Literal["things", "looks"] = "things"
    counts: Mapping[str, int] = field(default_factory=dict)
    attention: Sequence[Attention] = ()

    def __post_init__(self) -> None:
        for name, time in (("start", self.start), ("duration", self.duration or 0), *(("cut", at) for at in self.cuts)):
            if not -MAX_SECONDS < time < MAX_SECONDS:
                raise ValueError(f"{self.source}: its {name} can't be at {time} seconds")
        if (self.duration or 0) < 0:
            raise ValueError(f"{self.source}: can't last {self.duration} seconds")
