"""Annotate the frames of a live source with bounded latency.

Frames leave in order, each at most `delay` seconds after its arrival. One that is not annotated by then, because the
model is slow or later frames are still missing, leaves as a frame that could not be analysed.
"""

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

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
# Shares of the frames in `delay`: the least window annotated together, and the tail kept to backtrack new objects.
MIN_WINDOW_SHARE, TAIL_SHARE = 0.25, 0.4
WINDOW_HEADROOM = 1.3  # a window lasts this many times as long as the last model call, so that the model keeps up


@dataclass
class LatencyStats:
    """Latency of frames, from arrival to release.

    Attributes:
        frames: Frames released.
        late: Frames released without findings, because the delay was over.
        total: Sum of the latencies, in seconds.
        maximum: Greatest latency, in seconds.
    """

    frames: int = 0
    late: int = 0
    total: float = 0.0
    maximum: float = 0.0

    def add(self, seconds: float, late: bool) -> None:
        """Count one released frame."""
        self.frames += 1
        self.late += late
        self.total += seconds
        self.maximum = max(self.maximum, seconds)


@dataclass
class _PendingFrame:
    """A frame that was not released yet; `arrived` is in seconds of the monotonic clock."""

    frame: Frame
    arrived: float
    annotated: AnnotatedFrame | None = None


@dataclass
class LiveAnnotator:
    """Annotates the frames of a live source in a thread of its own.

    Attributes:
        reader: The live source.
        detect: Runs the model on a batch of images.
        request: What to detect, and on which frames.
        delay: Most seconds from a frame's arrival to its release.
        clock: Adds up the seconds of the model calls.
        blank_late: Replace the image of a frame that is late by an empty one; otherwise it leaves as it arrived.
        latency: Latency of the frames released so far.
    """

    reader: LiveReader
    detect: Detector
    request: AnalysisRequest
    _: KW_ONLY
    delay: float
    clock: Stopwatch
    blank_late: bool = True
    latency: LatencyStats = field(default_factory=LatencyStats)

    def __post_init__(self) -> None:
        stream = self.reader.videos[0].index
        rate = self.reader.rate(stream)
        capacity = max(2, int(self.delay * rate))
        self._rate = rate
        self._min_window, self._max_window = max(1, int(MIN_WINDOW_SHARE * capacity)), max(1, capacity // 2)
        self._sampler = KeyframeSampler(
            self._timed(model_call(self.detect, self.request, self.clock)),
            self.request.sampling,
            CallBudget(self.request.max_calls),
            rate,
            window=self._min_window,
            tail=int(TAIL_SHARE * capacity),
        )
        self._submitted: queue.Queue[Frame | None] = queue.Queue(capacity)
        self._annotated_frames: queue.SimpleQueue[AnnotatedFrame | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._pending: deque[_PendingFrame] = deque()
        self._by_index: dict[int, _PendingFrame] = {}  # by Frame.index in the annotating thread
        self._submitted_count = 0

    def _timed(self, call: ModelCall) -> ModelCall:
        """Wrap a model call: after each one, widen or narrow the window so that the model keeps up."""

        def timed(frames: Sequence[Frame]) -> list[ImageFindings | None]:
            begin = time.monotonic()
            found = call(frames)
            frames_per_call = math.ceil(WINDOW_HEADROOM * self._rate * (time.monotonic() - begin))
            self._sampler.window = min(max(self._min_window, frames_per_call), self._max_window)
            return found

        return timed

    def events(self) -> Generator[AnnotatedEvent]:
        """Iterate over the reader's events with every frame annotated; call it once.

        Raises:
            InputError: The source was lost; raised after the frames that were read before.
            EngineError: The model failed.
            KeyboardInterrupt: The person interrupted.
        """
        thread = threading.Thread(target=self._annotate, name="annotator", daemon=True)
        thread.start()
        try:
            yield from self._poll_events()
        finally:
            self._stopped.set()
            with suppress(queue.Full):
                self._submitted.put_nowait(None)
            thread.join()

    def _poll_events(self) -> Iterator[AnnotatedEvent]:
        error_at_end: InputError | None = None
        ended = False
        while not ended or self._pending:
            raise_if_interrupted()
            event: Frame | av.Packet[Any] | None = None
            if ended:
                time.sleep(POLL_SECONDS)
            else:
                try:
                    event = self.reader.next_event(POLL_SECONDS)
                except (StopIteration, InputError) as error:
                    error_at_end = error if isinstance(error, InputError) else None
                    ended = True
                    self._end()
            if isinstance(event, av.Packet):
                yield event
            elif event is not None:
                self._submit(event)
            self._collect()
            yield from self._release(time.monotonic())
        if error_at_end:
            raise error_at_end

    def _end(self) -> None:
        with suppress(queue.Full):
            self._submitted.put(None, timeout=self.delay)

    def _submit(self, frame: Frame) -> None:
        """Queue a frame for the annotating thread; if the queue is full, the frame will be released as late."""
        waiting = _PendingFrame(frame, time.monotonic())
        self._pending.append(waiting)
        with suppress(queue.Full):
            self._submitted.put_nowait(replace(frame, index=self._submitted_count))
            self._by_index[self._submitted_count] = waiting
            self._submitted_count += 1

    def _collect(self) -> None:
        while True:
            try:
                annotated = self._annotated_frames.get_nowait()
            except queue.Empty:
                return
            if isinstance(annotated, BaseException):
                raise annotated
            self._by_index.pop(annotated.frame.index).annotated = annotated

    def _release(self, now: float) -> Iterator[AnnotatedFrame]:
        while self._pending:
            first = self._pending[0]
            late = first.annotated is None
            if late and now - first.arrived < self.delay:
                return
            self._pending.popleft()
            self.latency.add(now - first.arrived, late)
            frame = first.frame
            if late and self.blank_late:
                frame = replace(frame, image=_blank_like(frame.image))
            yield AnnotatedFrame(frame, first.annotated.findings if first.annotated else FrameFindings(hidden=True))

    def summary(self) -> str:
        """Return one line of statistics: delay, dropped and late frames, reconnections."""
        latency, reader = self.latency, self.reader
        parts = [f"delay {latency.total / max(1, latency.frames):.2f} s, at most {latency.maximum:.2f} s"]
        parts += [f"{reader.dropped} frame{'s' * (reader.dropped != 1)} dropped to keep up"] if reader.dropped else []
        outcome = "masked whole" if self.blank_late else "left unchanged"
        for count, reason in ((latency.late, "not analysed in time"), (reader.damaged, "damaged on the way")):
            parts += [f"{count} frame{'s' * (count != 1)} {outcome}: {reason}"] if count else []
        times = "once" if reader.reconnects == 1 else f"{reader.reconnects} times"
        parts += [f"reconnected {times}"] if reader.reconnects else []
        return ", ".join(parts)

    # -- in the annotating thread

    def _annotate(self) -> None:
        try:
            while not self._stopped.is_set() and (frame := self._submitted.get()) is not None:
                for annotated in self._sampler.push(frame):
                    self._annotated_frames.put(annotated)
            if not self._stopped.is_set():
                for annotated in self._sampler.finish():
                    self._annotated_frames.put(annotated)
        except BaseException as error:
            self._annotated_frames.put(error)


def _blank_like(image: av.VideoFrame) -> av.VideoFrame:
    """Return an empty frame of the same format: the annotating thread may still read the original."""
    blank = av.VideoFrame(image.width, image.height, image.format.name)
    blank.colorspace, blank.color_range = image.colorspace, image.color_range
    return blank
