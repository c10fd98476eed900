"""From what a live source gives to the same with every frame annotated in time.

Frames leave in their order, each at most `delay` seconds after it came. One that is not by then, since the model
is slow or has yet to see what comes after, leaves as one that could not be judged.
"""

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace

import av

from mdtool.errors import InputError
from mdtool.interruption import raise_if_interrupted
from mdtool.media.sources.live import LiveReader
from mdtool.media.video.frame import Frame
from mdtool.pipeline.annotate import AnalysisRequest, AnnotatedEvent, model_call
from mdtool.pipeline.stages import Stopwatch
from mdtool.records.findings import FrameFindings
from mdtool.tracking.detector import Detector, ImageFindings
from mdtool.tracking.keyframe_sampler import AnnotatedFrame, CallBudget, KeyframeSampler, ModelCall

POLL_SECONDS = 0.02
WINDOW_SHARE, TAIL_SHARE = 0.25, 0.4  # of the frames in `delay`: annotated together, kept for what is seen after them
SPARE = 1.3  # how much longer than the last model call a window is made, so that it keeps up


@dataclass
class LatencyStats:
    """How long frames took from coming to leaving, in seconds; late: those that were hidden for it."""

    frames: int = 0
    late: int = 0
    total: float = 0.0
    maximum: float = 0.0

    def add(self, seconds: float, late: bool) -> None:
        self.frames += 1
        self.late += late
        self.total += seconds
        self.maximum = max(self.maximum, seconds)


@dataclass
class _Waiting:
    """A frame on its way; came: when, on the monotonic clock."""

    frame: Frame
    arrived: float
    annotated: AnnotatedFrame | None = None


@dataclass
class LiveAnnotator:
    """Annotates in a thread of its own while frames come and go; `latency` tells how that goes."""

    reader: LiveReader
    detect: Detector
    request: AnalysisRequest
    _: KW_ONLY
    delay: float
    clock: Stopwatch
    blank_late: bool = True  # what is not annotated in time leaves with nothing to be seen of it, else as it came
    latency: LatencyStats = field(default_factory=LatencyStats)

    def __post_init__(self) -> None:
        stream = self.reader.videos[0].index
        rate = self.reader.rate(stream)
        held = max(2, int(self.delay * rate))
        self._rate = rate
        self._least_window, self._most_window = max(1, int(WINDOW_SHARE * held)), max(1, held // 2)
        self._sampler = KeyframeSampler(
            self._timed(model_call(self.detect, self.request, self.clock)),
            self.request.sampling,
            CallBudget(self.request.max_calls),
            rate,
            window=self._least_window,
            tail=int(TAIL_SHARE * held),
        )
        self._todo: queue.Queue[Frame | None] = queue.Queue(held)
        self._done: queue.SimpleQueue[AnnotatedFrame | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._waiting: deque[_Waiting] = deque()
        self._numbered: dict[int, _Waiting] = {}  # by the number that the annotating thread knows a frame by
        self._given = 0

    def _timed(self, call: ModelCall) -> ModelCall:
        """The same, and the window is made as wide as the model needs to keep up."""

        def timed(frames: Sequence[Frame]) -> list[ImageFindings | None]:
            begin = time.monotonic()
            found = call(frames)
            meanwhile = math.ceil(SPARE * self._rate * (time.monotonic() - begin))
            self._sampler.window = min(max(self._least_window, meanwhile), self._most_window)
            return found

        return timed

    def events(self) -> Generator[AnnotatedEvent]:
        """Those of the reader, once. Raises what it and the model raise, and KeyboardInterrupt when asked to end."""
        thread = threading.Thread(target=self._annotate, name="annotator", daemon=True)
        thread.start()
        try:
            yield from self._annotated()
        finally:
            self._stopped.set()
            with suppress(queue.Full):
                self._todo.put_nowait(None)
            thread.join()

    def _annotated(self) -> Iterator[AnnotatedEvent]:
        lost: InputError | None = None
        ended = False
        while not ended or self._waiting:
            raise_if_interrupted()
            event: Frame | av.Packet | None = None
            if ended:
                time.sleep(POLL_SECONDS)
            else:
                try:
                    event = self.reader.next_event(POLL_SECONDS)
                except (StopIteration, InputError) as error:
                    lost = error if isinstance(error, InputError) else None
                    ended = True
                    self._end()
            if isinstance(event, av.Packet):
                yield event
            elif event is not None:
                self._give(event)
            self._collect()
            yield from self._leave(time.monotonic())
        if lost:
            raise lost

    def _end(self) -> None:
        with suppress(queue.Full):
            self._todo.put(None, timeout=self.delay)

    def _give(self, frame: Frame) -> None:
        """To the annotating thread, if there is room; without it, nobody will know what the frame shows."""
        one = _Waiting(frame, time.monotonic())
        self._waiting.append(one)
        with suppress(queue.Full):
            self._todo.put_nowait(replace(frame, index=self._given))
            self._numbered[self._given] = one
            self._given += 1

    def _collect(self) -> None:
        while True:
            try:
                annotated = self._done.get_nowait()
            except queue.Empty:
                return
            if isinstance(annotated, BaseException):
                raise annotated
            self._numbered.pop(annotated.frame.index).annotated = annotated

    def _leave(self, now: float) -> Iterator[AnnotatedFrame]:
        while self._waiting:
            first = self._waiting[0]
            late = first.annotated is None
            if late and now - first.arrived < self.delay:
                return
            self._waiting.popleft()
            self.latency.add(now - first.arrived, late)
            frame = first.frame
            if late and self.blank_late:
                frame = replace(frame, image=_blank_like(frame.image))
            yield AnnotatedFrame(frame, first.annotated.findings if first.annotated else FrameFindings(hidden=True))

    def summary(self) -> str:
        """How it went, for a person."""
        latency, reader = self.latency, self.reader
        parts = [f"delay {latency.total / max(1, latency.frames):.2f} s, at most {latency.maximum:.2f} s"]
        parts += [f"{reader.dropped} frames dropped, for newer ones were there"] if reader.dropped else []
        became = "hidden whole" if self.blank_late else "left as they came"
        parts += [f"{latency.late} {became}, for they were not judged in time"] if latency.late else []
        parts += [f"connected again {reader.reconnects} times"] if reader.reconnects else []
        return ", ".join(parts)

    # -- in the thread that annotates

    def _annotate(self) -> None:
        try:
            while not self._stopped.is_set() and (frame := self._todo.get()) is not None:
                for annotated in self._sampler.push(frame):
                    self._done.put(annotated)
            if not self._stopped.is_set():
                for annotated in self._sampler.finish():
                    self._done.put(annotated)
        except BaseException as error:
            self._done.put(error)


def _blank_like(picture: av.VideoFrame) -> av.VideoFrame:
    """In place of a picture that is to be painted over while the annotating thread may still read it."""
    blank = av.VideoFrame(picture.width, picture.height, picture.format.name)
    blank.colorspace, blank.color_range = picture.colorspace, picture.color_range
    return blank
