"""Aggregates the gazes of one input over its frames: smoothing, attention per person, and a heatmap."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mdtool.errors import InputError
from mdtool.jobs.gaze.detector import FACE
from mdtool.jobs.gaze.gaze_writer import GazeWriter
from mdtool.media.canvas import Canvas
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.gaze import IMAGE_SECONDS, Attention, Gaze, Smoother, gaze_of, who_looks_at
from recipes.gaze_draw import draw_gaze
from recipes.heatmap import HeatMap, add_gaze
from recipes.regions import Region


@dataclass
class _Stream:
    """State of one video stream.

    Attributes:
        pending: The last frame, whose duration may depend on the next one.
        step: Seconds between the two frames before.
    """

    smoother: Smoother = field(default_factory=Smoother)
    attention: Attention = field(default_factory=Attention)
    pending: tuple[FrameInfo, Sequence[Gaze]] | None = None
    step: float = 0.0


class GazeAggregator:
    """Aggregates the gazes of one input, whose frames are added in the order of each stream.

    Attributes:
        heat: Heatmap of the first stream; None before its first frame has ended.
        people: Gazes on the last frame, each with the person or target that it hits.
        target_regions: Named targets on the last frame.
    """

    def __init__(self, writer: GazeWriter | None = None) -> None:
        """Create an aggregator.

        Args:
            writer: Writes the gazes of each frame.
        """
        self._writer = writer
        self._streams: dict[int, _Stream] = {}
        self.heat: HeatMap | None = None
        self.people: list[Gaze] = []
        self.target_regions: list[Region] = []
        self._people_span: tuple[float, float] | None = None  # first and last time with people, in the first stream

    def add(self, info: FrameInfo, findings: FrameFindings) -> None:
        """Add the next frame.

        Raises:
            InputError: The findings have faces without gazes.
        """
        stream = self._streams.setdefault(info.stream, _Stream())
        if findings.cut:
            stream.smoother.cut()
        faces, self.target_regions = gazes_and_targets(findings)
        people = self.people = who_looks_at(stream.smoother(info.time, faces), self.target_regions)
        if stream.pending:
            stream.step = max(info.time - stream.pending[0].time, 0.0)
        self._count_pending(stream, stream.step)
        stream.pending = info, people
        if self._writer:
            self._writer.write(info, findings.hidden, people)

    def finish(self) -> None:
        """End the aggregation, after the last frame."""
        for stream in self._streams.values():
            self._count_pending(stream, stream.step or IMAGE_SECONDS)

    def _count_pending(self, stream: _Stream, step: float) -> None:
        """Count the pending frame; without a duration of its own it lasts `step` seconds."""
        if stream.pending is None:
            return
        info, people = stream.pending
        stream.pending = None
        seconds = info.duration or step
        stream.attention.add(people, seconds)
        if stream is next(iter(self._streams.values())):
            if self.heat is None:
                width, height = info.size
                self.heat = HeatMap(width / height if width and height else 1.0)
            if people:
                self._people_span = (self._people_span or (info.time,))[0], info.time
            for gaze in people:
                add_gaze(self.heat, gaze, seconds)

    @property
    def midpoint(self) -> tuple[int, float] | None:
        """Index of the first stream, and the middle of the time in which it shows people; None before any frame."""
        if not self._streams:
            return None
        return next(iter(self._streams)), sum(self._people_span or (0.0, 0.0)) / 2

    def as_dict(self) -> dict[str, Any]:
        """Return the attention of all streams for JSON, as `Attention.as_dict` with the stream of each person."""
        return {
            "people": [
                {"stream": index, **person}
                for index, stream in sorted(self._streams.items())
                for person in stream.attention.as_dict()["people"]
            ]
        }


@dataclass(frozen=True)
class GazeEffect:
    """The effect of `mdtool gaze`: draws the gazes and named targets of the frame that was added last."""

    aggregator: GazeAggregator

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        """Draw on the frame."""
        people, target_regions = self.aggregator.people, self.aggregator.target_regions
        if people or target_regions:
            canvas.draw(lambda image: draw_gaze(image, people, target_regions))


def gazes_and_targets(findings: FrameFindings) -> tuple[list[Gaze], list[Region]]:
    """Return the gazes and the named targets of a frame; neither if the frame could not be judged.

    Raises:
        InputError: The findings have faces without gazes.
    """
    people, target_regions = [], []
    for region in [] if findings.hidden else findings.regions:
        if region.gaze:
            people.append(gaze_of(region))
        elif region.label == FACE:
            raise InputError(
                "its findings hold faces without gazes; write findings with `mdtool gaze --findings` instead"
            )
        else:
            target_regions.append(region)
    return people, target_regions
