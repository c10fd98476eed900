"""What is known of the gazes of one input, frame by frame, and what it comes to in the end."""

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
    """One video stream. waiting: its last frame, which lasts until the next; step: seconds between the two before."""

    smoother: Smoother = field(default_factory=Smoother)
    attention: Attention = field(default_factory=Attention)
    waiting: tuple[FrameInfo, Sequence[Gaze]] | None = None
    step: float = 0.0


class GazeAggregator:
    """Takes the frames of one input, in the order of each stream, and sums up whom and what people look at."""

    def __init__(self, lines: GazeWriter | None = None) -> None:
        """lines: where each frame is written too."""
        self._lines = lines
        self._streams: dict[int, _Stream] = {}
        self.heat: HeatMap | None = None  # of the first stream; None before its first frame
        self.people: list[Gaze] = []  # on the frame that was taken last, with whom or what they look at
        self.target_regions: list[Region] = []  # on the same frame, those that were named
        self._peopled: tuple[float, float] | None = None  # when somebody shows in it first and last

    def take(self, info: FrameInfo, findings: FrameFindings) -> None:
        """The next frame."""
        stream = self._streams.setdefault(info.stream, _Stream())
        if findings.cut:
            stream.smoother.cut()
        faces, self.target_regions = gazes_and_targets(findings)
        people = self.people = who_looks_at(stream.smoother(info.time, faces), self.target_regions)
        if stream.waiting:
            stream.step = max(info.time - stream.waiting[0].time, 0.0)
        self._settle(stream, stream.step)
        stream.waiting = info, people
        if self._lines:
            self._lines.write(info, findings.hidden, people)

    def finish(self) -> None:
        """No frame comes after."""
        for stream in self._streams.values():
            self._settle(stream, stream.step or IMAGE_SECONDS)

    def _settle(self, stream: _Stream, step: float) -> None:
        """Counts the frame that waits. step: seconds that it lasts if it does not say so itself."""
        if stream.waiting is None:
            return
        info, people = stream.waiting
        stream.waiting = None
        seconds = info.duration or step
        stream.attention.add(people, seconds)
        if stream is next(iter(self._streams.values())):
            if self.heat is None:
                width, height = info.size
                self.heat = HeatMap(width / height if width and height else 1.0)
            if people:
                self._peopled = (self._peopled or (info.time,))[0], info.time
            for one in people:
                add_gaze(self.heat, one, seconds)

    @property
    def midpoint(self) -> tuple[int, float] | None:
        """The first stream, and the time midway between where somebody shows first and last; None before any frame."""
        if not self._streams:
            return None
        return next(iter(self._streams)), sum(self._peopled or (0.0, 0.0)) / 2

    def as_dict(self) -> dict[str, Any]:
        """`Attention.as_dict`, with the stream that each person is in."""
        return {
            "people": [
                {"stream": index, **person}
                for index, stream in sorted(self._streams.items())
                for person in stream.attention.as_dict()["people"]
            ]
        }


@dataclass(frozen=True)
class GazeEffect:
    """Draws where people look, and the things that were named, on the frame that the account took last: the treatment
    that `mdtool gaze` gives."""

    aggregator: GazeAggregator

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        people, target_regions = self.aggregator.people, self.aggregator.target_regions
        if people or target_regions:
            canvas.draw(lambda image: draw_gaze(image, people, target_regions))


def gazes_and_targets(findings: FrameFindings) -> tuple[list[Gaze], list[Region]]:
    """The people on a frame, and the named things; neither where it could not be judged."""
    people, target_regions = [], []
    for region in [] if findings.hidden else findings.regions:
        if region.gaze:
            people.append(gaze_of(region))
        elif region.label == FACE:
            raise InputError(
                "its findings hold faces without gazes: `mdtool gaze --findings` makes those that have them"
            )
        else:
            target_regions.append(region)
    return people, target_regions
