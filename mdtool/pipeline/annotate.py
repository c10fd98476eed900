"""From the events of a video to the same events with every frame judged."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np

from engine.contract import EngineError
from mdtool.errors import UsageError
from mdtool.interruption import check_not_ending
from mdtool.media.video.frame import Frame
from mdtool.pipeline.stages import Stopwatch
from mdtool.records.findings import Verdict
from mdtool.tracking.detector import See, Sight
from mdtool.tracking.keyframe_sampler import Budget, Judged, Look, Seen, Watcher
from mdtool.tracking.pixel_aspect import seen_in_each_shape
from mdtool.tracking.sampling import Sampling
from mdtool.tracking.tracks import Sighting

Event = Frame | av.Packet
JudgedEvent = Judged | av.Packet


@dataclass(frozen=True)
class Question:
    """What the model is asked about the frames, and which of them it is asked about.

    start, end: seconds; frames outside are not judged, and count as having nothing in them.
    """

    prompts: tuple[str, ...]
    threshold: float | None = None
    sampling: Sampling = Sampling()
    max_calls: int | None = None
    start: float | None = None
    end: float | None = None
    blank_errors: bool = False  # a frame on which the model fails is hidden instead of ending the run

    def __post_init__(self) -> None:
        if not all(prompt.strip() for prompt in self.prompts):
            raise UsageError("--prompt: is empty; say what to hide, such as face")
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError("--to: must be later than --from, or there is nothing to do")


def judge(
    events: Iterable[Event], see: See, question: Question, rate_of: Callable[[int], float], clock: Stopwatch
) -> Iterator[JudgedEvent]:
    """Every frame of every video stream judged, in order; packets of other streams pass at once.

    rate_of: frames a second of a stream. Raises what `see` raises, unless question.blank_errors.
    """
    look = looking(see, question, clock)
    budget = Budget(question.max_calls)
    watchers: dict[int, Watcher] = {}
    for event in events:
        if not isinstance(event, Frame):
            yield event
        elif _outside(event, question):
            leaving = event.stream in watchers
            if leaving:
                yield from watchers.pop(event.stream).finish()
            yield Judged(event, Verdict(cut=leaving))  # what was replied before holds no longer
        else:
            if event.stream not in watchers:
                watchers[event.stream] = Watcher(look, question.sampling, budget, rate_of(event.stream))
            yield from watchers[event.stream].push(event)
    for watcher in watchers.values():
        yield from watcher.finish()


def _outside(frame: Frame, question: Question) -> bool:
    before = question.start is not None and frame.time < question.start
    return before or (question.end is not None and frame.time >= question.end)


def looking(see: See, question: Question, clock: Stopwatch) -> Look:
    """How a watcher's looks are taken. Raises what `see` raises, unless question.blank_errors."""

    def look(frames: Sequence[Frame]) -> list[Seen | None]:
        check_not_ending()
        try:
            with clock.time("model"):
                seen = seen_in_each_shape(see, frames)
        except EngineError:
            if not question.blank_errors:
                raise
            # alone, so that one bad frame does not take the others with it
            return [None] if len(frames) == 1 else [look([frame])[0] for frame in frames]
        return [(_sightings(frame, sight), sight.replies) for frame, sight in zip(frames, seen, strict=True)]

    return look


def _sightings(frame: Frame, sight: Sight) -> list[Sighting]:
    height, width = frame.luma.shape
    scale = np.array([width, height, width, height])
    boxes = [(one.box, one.gaze) for one in sight.objects]
    return [
        Sighting(np.array([b.x_min, b.y_min, b.x_max, b.y_max]) * scale, b.label, b.score, gaze) for b, gaze in boxes
    ]
