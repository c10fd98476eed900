"""Annotate a stream of decoded frames with findings, one keyframe sampler per video stream."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import av

from engine.contract import EngineError
from mdtool.errors import UsageError
from mdtool.interruption import raise_if_interrupted
from mdtool.media.video.frame import Frame
from mdtool.pipeline.stages import Stopwatch
from mdtool.records.findings import FrameFindings
from mdtool.tracking.detector import Detector, ImageFindings
from mdtool.tracking.keyframe_sampler import AnnotatedFrame, CallBudget, KeyframeSampler, ModelCall
from mdtool.tracking.sampling import Sampling
from mdtool.tracking.turned_views import UPRIGHT, ViewSearch

# A decoded video frame, or a packet of a stream that is copied; quoted, as PyAV's Packet is not generic at run time.
Event: TypeAlias = "Frame | av.Packet[Any]"
AnnotatedEvent: TypeAlias = "AnnotatedFrame | av.Packet[Any]"


@dataclass(frozen=True)
class AnalysisRequest:
    """What to detect, and on which frames to run the model.

    Attributes:
        prompts: Names of the objects to detect.
        threshold: Least score of a detection, 0..1; None for the model's own.
        sampling: Distance between keyframes.
        max_calls: Most frames to run the model on; None for no limit.
        start: Seconds; earlier frames are not analysed and get empty findings.
        end: Seconds; frames from here on are not analysed and get empty findings.
        blank_errors: Mask a frame on which the model fails instead of ending the run.
        view: Degrees by which pictures are turned clockwise before they are analysed; None to search for the view in
            which something is found.
    """

    prompts: tuple[str, ...]
    threshold: float | None = None
    sampling: Sampling = Sampling()
    max_calls: int | None = None
    start: float | None = None
    end: float | None = None
    blank_errors: bool = False
    view: int | None = UPRIGHT

    def __post_init__(self) -> None:
        if not all(prompt.strip() for prompt in self.prompts):
            raise UsageError("--prompt: empty; name what to detect, such as face")
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError("--to: must be later than --from")


def annotate(
    events: Iterable[Event],
    detect: Detector,
    request: AnalysisRequest,
    rate_of: Callable[[int], float],
    *,
    clock: Stopwatch,
) -> Iterator[AnnotatedEvent]:
    """Annotate every frame of every video stream.

    Args:
        events: Frames in decoding order, and packets of streams that are copied.
        detect: Runs the model on a batch of images.
        request: What to detect, and on which frames.
        rate_of: Returns the frame rate of a video stream, in frames per second, by its index.
        clock: Adds up the seconds of the model calls.

    Yields:
        Annotated frames, delayed but in the order of each stream; packets pass without delay.

    Raises:
        EngineError: The model failed, unless `request.blank_errors`.
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
            yield AnnotatedFrame(event, FrameFindings(cut=leaving))  # earlier replies no longer hold
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
    """Return the function with which a sampler runs the model on frames.

    It raises EngineError where the model fails; with `request.blank_errors` it returns None for such a frame instead.
    """

    views = ViewSearch(detect, request.view)

    def call(frames: Sequence[Frame]) -> list[ImageFindings | None]:
        raise_if_interrupted()
        try:
            with clock.time("model"):
                return [*views.detect_frames(frames)]
        except EngineError:
            if not request.blank_errors:
                raise
            # retry one by one, so that a single bad frame does not fail the batch
            return [None] if len(frames) == 1 else [call([frame])[0] for frame in frames]

    return call
