"""From the events of a video to the same events with every frame annotated: with what was found on it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import av

from engine.contract import EngineError
from mdtool.errors import UsageError
from mdtool.interruption import raise_if_interrupted
from mdtool.media.video.frame import Frame
from mdtool.pipeline.stages import Stopwatch
from mdtool.records.findings import FrameFindings
from mdtool.tracking.detector import Detector, ImageFindings
from mdtool.tracking.keyframe_sampler import AnnotatedFrame, CallBudget, KeyframeSampler, ModelCall
from mdtool.tracking.pixel_aspect import detect_both_aspects
from mdtool.tracking.sampling import Sampling

Event = Frame | av.Packet
AnnotatedEvent = AnnotatedFrame | av.Packet


@dataclass(frozen=True)
class AnalysisRequest:
    """What the model is asked about the frames, and which of them it is asked about.

    start, end: seconds; frames outside are not analysed, and count as having nothing in them.
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


def annotate(
    events: Iterable[Event],
    detect: Detector,
    request: AnalysisRequest,
    rate_of: Callable[[int], float],
    *,
    clock: Stopwatch,
) -> Iterator[AnnotatedEvent]:
    """Every frame of every video stream annotated, in order; packets of other streams pass at once.

    rate_of: frames a second of a stream. Raises what `detect` raises, unless question.blank_errors.
    """
    call = model_call(detect, request, clock)
    budget = CallBudget(request.max_calls)
    samplers: dict[int, KeyframeSampler] = {}
    for event in events:
        if not isinstance(event, Frame):
            yield event
        elif _outside(event, request):
            leaving = event.stream in samplers
            if leaving:
                yield from samplers.pop(event.stream).finish()
            yield AnnotatedFrame(event, FrameFindings(cut=leaving))  # what was replied before holds no longer
        else:
            if event.stream not in samplers:
                samplers[event.stream] = KeyframeSampler(call, request.sampling, budget, rate_of(event.stream))
            yield from samplers[event.stream].push(event)
    for sampler in samplers.values():
        yield from sampler.finish()


def _outside(frame: Frame, request: AnalysisRequest) -> bool:
    before = request.start is not None and frame.time < request.start
    return before or (request.end is not None and frame.time >= request.end)


def model_call(detect: Detector, request: AnalysisRequest, clock: Stopwatch) -> ModelCall:
    """How a sampler has frames analysed. Raises what `detect` raises, unless question.blank_errors."""

    def call(frames: Sequence[Frame]) -> list[ImageFindings | None]:
        raise_if_interrupted()
        try:
            with clock.time("model"):
                return [*detect_both_aspects(detect, frames)]
        except EngineError:
            if not request.blank_errors:
                raise
            # alone, so that one bad frame does not take the others with it
            return [None] if len(frames) == 1 else [call([frame])[0] for frame in frames]

    return call
