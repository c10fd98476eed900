"""The contents of a report, as plain data. Times are in seconds, as in the findings.

Texts may be any that a user or a file system can give, with surrogate escapes of undecodable file names too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

MAX_SECONDS = 1e9  # times beyond are taken for errors
SIGNATURES: tuple[tuple[bytes, Literal["jpeg", "png"]], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
)


@dataclass(frozen=True)
class Row:
    """A rule of a policy, or a label.

    Attributes:
        name: The rule or label.
        hit: Whether the rule is hit; None for a label.
        objects: Number of tracked objects; None for a rule.
        frames: Number of frames that match.
        spans: Times of these frames as (start, end), in any order; they may overlap.
        largest: Largest area on any frame, as a share of the frame, 0..1; None without boxes.

    Raises:
        ValueError: A span is invalid.
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
                raise ValueError(f"{self.name}: a span can't last from {start} to {end} seconds")


@dataclass(frozen=True)
class EmbeddedImage:
    """An image that is embedded in the page.

    Attributes:
        data: Content of a JPEG or PNG file.
        kind: Its format.

    Raises:
        ValueError: It has another format.
    """

    data: bytes
    kind: Literal["jpeg", "png"] = field(init=False)

    def __post_init__(self) -> None:
        kind = next((kind for magic, kind in SIGNATURES if self.data.startswith(magic)), None)
        if kind is None:
            raise ValueError("a report can embed JPEG and PNG images only")
        object.__setattr__(self, "kind", kind)


@dataclass(frozen=True)
class Example:
    """An example frame, with its findings drawn on it.

    Attributes:
        time: Seconds; None for a still image.
    """

    image: EmbeddedImage
    labels: Sequence[str] = ()
    time: float | None = None


@dataclass(frozen=True)
class Attention:
    """Where one person looks.

    Attributes:
        seconds: Time per target: another person, a named target, elsewhere, or out of frame. For a still image only
            the targets are shown.
    """

    person: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Chapter:
    """The part of a report on one input; sections without data are left out.

    Attributes:
        start: Time of the first frame.
        duration: None for a still image.
        frames: Number of frames.
        keyframes: Number of frames that the model analysed.
        notes: Sentences for the reader, such as on frames that could not be judged.
        input_changed: The input does not have the frames that the findings are of.
        cuts: Times of scene cuts.
        heat: A heatmap over a frame, of object positions or of gazes.
        heat_shows: Which of the two it is.
        counts: Number of objects by label.

    Raises:
        ValueError: A time is invalid.
    """

    source: str
    model: str = ""
    prompts: Sequence[str] = ()
    start: float = 0.0
    duration: float | None = None
    frames: int = 0
    keyframes: int = 0
    notes: Sequence[str] = ()
    input_changed: bool = False
    rows: Sequence[Row] = ()
    cuts: Sequence[float] = ()
    examples: Sequence[Example] = ()
    heat: EmbeddedImage | None = None
    heat_shows: Literal["objects", "gaze"] = "objects"
    counts: Mapping[str, int] = field(default_factory=dict)
    attention: Sequence[Attention] = ()

    def __post_init__(self) -> None:
        for name, time in (("start", self.start), ("duration", self.duration or 0), *(("cut", at) for at in self.cuts)):
            if not -MAX_SECONDS < time < MAX_SECONDS:
                raise ValueError(f"{self.source}: {name} can't be {time} seconds")
        if (self.duration or 0) < 0:
            raise ValueError(f"{self.source}: can't last {self.duration} seconds")
