"""What is known of the gazes of one input, frame by frame, and what it comes to in the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mdtool.errors import InputError
from mdtool.jobs.gaze.detector import FACE
from mdtool.jobs.gaze.lines import GazeLines
from mdtool.media.canvas import Canvas
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.gaze import ALONE, Attention, Gaze, Smoother, gaze_of, who_looks_at
from recipes.gaze_draw import draw_gaze
from recipes.heatmap import HeatMap, warm
from recipes.regions import Region


@dataclass
class _Stream:
    """One video stream. waiting: its last frame, which lasts until the next; step: seconds between the two before."""

    smoother: Smoother = field(default_factory=Smoother)
    attention: Attention = field(default_factory=Attention)
    waiting: tuple[FrameInfo, Sequence[Gaze]] | None = None
    step: float = 0.0


class Account:
    """Takes the frames of one input, in the order of each stream, and sums up whom and what people look at."""

    def __init__(self, lines: GazeLines | None = None) -> None:
        """lines: where each frame is written too."""
        self._lines = lines
        self._streams: dict[int, _Stream] = {}
        self.heat: HeatMap | None = None  # of the first stream; None before its first frame
        self.people: list[Gaze] = []  # on the frame that was taken last, with whom or what they look at
        self.things: list[Region] = []  # on the same frame, those that were named
        self._peopled: tuple[float, float] | None = None  # when somebody shows in it first and last

    def take(self, moment: FrameInfo, verdict: FrameFindings) -> None:
        """The next frame."""
        stream = self._streams.setdefault(moment.stream, _Stream())
        if verdict.cut:
            stream.smoother.cut()
        faces, self.things = seen_in(verdict)
        people = self.people = who_looks_at(stream.smoother(moment.time, faces), self.things)
        if stream.waiting:
            stream.step = max(moment.time - stream.waiting[0].time, 0.0)
        self._settle(stream, stream.step)
        stream.waiting = moment, people
        if self._lines:
            self._lines.write(moment, verdict.hidden, people)

    def finish(self) -> None:
        """No frame comes after."""
        for stream in self._streams.values():
            self._settle(stream, stream.step or ALONE)

    def _settle(self, stream: _Stream, step: float) -> None:
        """Counts the frame that waits. step: seconds that it lasts if it does not say so itself."""
        if stream.waiting is None:
            return
        moment, people = stream.waiting
        stream.waiting = None
        seconds = moment.duration or step
        stream.attention.add(people, seconds)
        if stream is next(iter(self._streams.values())):
            if self.heat is None:
                width, height = moment.size
                self.heat = HeatMap(width / height if width and height else 1.0)
            if people:
                self._peopled = (self._peopled or (moment.time,))[0], moment.time
            for one in people:
                warm(self.heat, one, seconds)

    @property
    def middle(self) -> tuple[int, float] | None:
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
class GazeDrawing:
    """Draws where people look, and the things that were named, on the frame that the account took last: the treatment
    that `mdtool gaze` gives."""

    account: Account

    def paint(self, canvas: Canvas, moment: FrameInfo, verdict: FrameFindings) -> None:
        people, things = self.account.people, self.account.things
        if people or things:
            canvas.draw(lambda image: draw_gaze(image, people, things))


def seen_in(verdict: FrameFindings) -> tuple[list[Gaze], list[Region]]:
    """The people on a frame, and the named things; neither where it could not be judged."""
    people, things = [], []
    for region in [] if verdict.hidden else verdict.regions:
        if region.gaze:
            people.append(gaze_of(region))
        elif region.label == FACE:
            raise InputError(
                "its findings hold faces without gazes: `mdtool gaze --findings` makes those that have them"
            )
        else:
            things.append(region)
    return people, things
