"""The worker of a batch: reads items, encodes their images, runs requests on a loaded model, and returns results."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from engine.contract import Done, EngineError, Failed, ModelUnavailable, TextDelta
from engine.generation.verbs import VisionModel
from mdtool.errors import OutputError, ReadTimeout, library_faults
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.jobs.batch.messages import (
    AddedSideOutputs,
    Answers,
    BatchTask,
    DeadlineReached,
    Duplicate,
    FileStillChanging,
    FrameFailed,
    FrameResult,
    ImageResult,
    InputWait,
    ItemFailed,
    Result,
    Unchanged,
    VideoResult,
    WorkItem,
)
from mdtool.jobs.batch.read_input import InputContent, modified_version, read_input
from mdtool.jobs.batch.video_frames import VideoDamage, VideoFrame, sampled_frames
from mdtool.jobs.crash_journal import CrashJournal
from mdtool.jobs.each_input import error_message
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.read_ahead import PollTimeout, ReadResult
from mdtool.jobs.inference.requests import ImageEncoder, ImageRequest, stream_requests
from mdtool.media.sources.inputs import file_state
from mdtool.media.sources.open_media import is_live, open_image
from mdtool.pipeline.analyse import iter_findings
from mdtool.pipeline.run import ModelInference
from mdtool.pipeline.stages import Idle, prefetch_with_idle
from mdtool.records.answers import answer_entry
from mdtool.records.run_report import Report
from mdtool.tracking.detector import object_detector
from mdtool.tracking.tiles import tile_detector

ERROR_CODES = {
    ReadTimeout: "slow",
    MemoryError: "memory",
    EngineError: "model",
    OutputError: "output",
    OSError: "output",
}
FRAMES_AHEAD = 2

T = TypeVar("T")

ReadItem = ReadResult[WorkItem, InputContent]


@dataclass(eq=False)
class _Video:
    """A video whose frames get requests.

    Attributes:
        size: Width and height in pixels.
        frames: Number of sampled frames, those with recorded answers included.
        submitted: Number of frames that were given to the model.
        finished: Number of them that have answers or have failed.
        all_read: No frame follows.
        late: The deadline passed before the last frame.
        error: Why the video failed.
        incomplete: What is wrong with the video, if a part of it could not be read.
        since: When work on it began, on the clock of `time.perf_counter`.
    """

    item: WorkItem
    version: ContentVersion
    size: tuple[int, int] = (0, 0)
    frames: int = 0
    submitted: int = 0
    finished: int = 0
    all_read: bool = False
    late: bool = False
    error: Exception | None = None
    incomplete: str = ""
    since: float = field(default_factory=time.perf_counter)

    def next_image(self, frame: VideoFrame) -> "_ItemImage":
        return _ItemImage(
            self.item.source, frame.pixels, item=self.item, version=self.version, time=frame.time, place=self.submitted,
            video=self,
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class _ItemImage(InputImage):
    """An image of an item, or a frame of a video, with its time in seconds and its index among those submitted."""

    item: WorkItem
    version: ContentVersion
    time: float | None = None
    place: int = 0
    video: _Video | None = None


class _DeadlinePassed(Exception):
    """The deadline passed during a video."""


class Worker:
    """Runs a task on items. `read` may be called from any thread; `results` is iterated in one."""

    def __init__(
        self,
        model: VisionModel,
        task: BatchTask,
        encode: ImageEncoder | None = None,
        *,
        journal: CrashJournal | None = None,
    ) -> None:
        """Create a worker.

        Args:
            model: The model that runs the requests.
            task: The requests, and what to write.
            encode: Image encoder in place of the model's own.
            journal: Where to note which input is read.
        """
        self._model, self._task, self._encode = model, task, encode
        self._journal = journal or CrashJournal(None)
        self._in_flight: dict[tuple[int, int], dict[int, Done | Failed]] = {}  # by item and place, then request
        self._results: deque[Result] = deque()  # not yet yielded
        # Items by the SHA-256 of their image; None: of an earlier run.
        self._items_by_digest: dict[str, int | None] = dict.fromkeys(task.known_digests)
        self._next_video: tuple[WorkItem, ContentVersion] | None = None  # for detection in all of its frames
        self._all_read = False
        self._wait_seconds = 0.0
        self.poll_timeout = PollTimeout()  # for the source of the inputs

    def read(self, item: WorkItem) -> InputContent:
        """Read the input of an item.

        Raises:
            InputError: It can't be read.
        """
        with self._journal.reading(item.source):
            return read_input(item, self._task.videos)

    def results(self, inputs: Iterable[ReadItem | None]) -> Generator[Result]:
        """Process items.

        Args:
            inputs: Items with their content; None means that none is ready yet.

        Yields:
            Results as they are ready.

        Raises:
            EngineError: The model can't continue.
        """
        source = iter(inputs)
        while not self._all_read:
            yield from self._answers(source)
            if self._next_video:
                item, version = self._next_video
                self._next_video = None
                with self._journal.reading(item.source):
                    yield from self._findings(item, version)

    # -- requests

    def _answers(self, source: Iterator[ReadItem | None]) -> Iterator[Result]:
        """Run the requests on images and frames, up to a video for detection, which runs alone."""
        events = stream_requests(
            self._images(source),
            self._model,
            self._task.requests,
            keep_pixels=self._task.side_outputs.needs_pixels,
            poll_timeout=self.poll_timeout,
            encode=self._encode,
        )
        for request_and_event in events:
            if request_and_event:
                request, event = request_and_event
                if not isinstance(event, TextDelta):
                    self._process(request, event)
            yield from self._flush()
        yield from self._flush()

    def _flush(self) -> Iterator[Result]:
        wait_seconds, self._wait_seconds = self._wait_seconds, 0.0
        yield InputWait(wait_seconds)
        while self._results:
            yield self._results.popleft()

    def _images(self, source: Iterator[ReadItem | None]) -> Iterator[_ItemImage | None]:
        for read in self._timed(source):
            if read is None:
                yield None
                continue
            yield from self._images_of(read)
            if self._next_video:
                return
            if self._results and not self._in_flight:
                yield None  # so that they are flushed
        self._all_read = True

    def _timed(self, items: Iterator[T]) -> Iterator[T]:
        """Add the time spent waiting for items to the wait time."""
        while True:
            since = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._wait_seconds += time.perf_counter() - since
            yield item

    def _images_of(self, read: ReadItem) -> Iterator[_ItemImage | None]:
        item, content = read.item, read.value
        if content is None:
            assert read.error
            self._fail(item, read.error)
        elif content.is_video and self._is_still_written(item, content.version):
            self._results.append(FileStillChanging(item.number))
        elif content.is_video and self._task.videos.find:
            self._next_video = item, content.version
        elif content.is_video:
            with self._journal.reading(item.source):
                yield from self._frames(_Video(item, content.version))
        elif content.pixels is None:
            self._complete(item, content.version)
        elif self._is_new(item, content.version):
            yield self._submitted(_ItemImage(item.source, content.pixels, item=item, version=content.version))

    def _is_still_written(self, item: WorkItem, version: ContentVersion) -> bool:
        return self._task.watch and item.source.path is not None and file_state(item.source) != version.state

    def _is_new(self, item: WorkItem, version: ContentVersion) -> bool:
        """Whether an image needs inference; if it is a duplicate, add that result."""
        sha256 = version.sha256
        if self._task.dedupe and sha256:
            if sha256 in self._items_by_digest and not item.force:
                self._results.append(Duplicate(item.number, version, self._items_by_digest[sha256]))
                return False
            self._items_by_digest[sha256] = item.number
        return True

    def _submitted(self, image: _ItemImage) -> _ItemImage:
        self._in_flight[image.item.number, image.place] = {}
        return image

    def _frames(self, video: _Video) -> Iterator[_ItemImage | None]:
        """Yield the sampled frames that have no recorded answers."""
        item, task = video.item, self._task
        prior_times = item.prior.times if item.prior and item.prior.identity == video.version.identity else ()
        try:
            ahead: Generator[VideoFrame | VideoDamage | Idle]
            ahead = prefetch_with_idle(
                sampled_frames(item.source, task.videos), FRAMES_AHEAD, task.timeout, self.poll_timeout.seconds
            )
            with library_faults(), closing(ahead) as frames:
                for frame in self._timed(frames):
                    if self._is_late():
                        video.late = True
                        break
                    if isinstance(frame, VideoDamage):
                        video.incomplete = frame.text
                    elif isinstance(frame, Idle):
                        yield None
                    else:
                        video.frames += 1
                        video.size = frame.pixels.shape[1], frame.pixels.shape[0]
                        if frame.time not in prior_times:
                            image = self._submitted(video.next_image(frame))
                            video.submitted += 1
                            yield image
        except Exception as error:
            raise_if_interrupted()  # an interruption may surface as an error of the library that it hit
            video.error = error
        video.all_read = True
        self._end(video)

    def _is_late(self) -> bool:
        return self._task.deadline is not None and time.time() > self._task.deadline

    # -- results

    def _process(self, submitted: ImageRequest, event: Done | Failed) -> None:
        image, requests = submitted.image, self._task.requests
        assert isinstance(image, _ItemImage)
        key = image.item.number, image.place
        events = self._in_flight[key]
        events[submitted.number] = event
        is_encoded = not isinstance(event, Failed) or event.index >= 0  # else no other event of this image follows
        if is_encoded and len(events) < len(requests):
            return
        del self._in_flight[key]
        if failed := next((each for each in events.values() if isinstance(each, Failed)), None):
            self._fail_image(image, failed.error)
            return
        done = [each for _, each in sorted(events.items()) if isinstance(each, Done)]
        answers = [answer_entry(request, each.result) for request, each in zip(requests, done, strict=True)]
        milliseconds = _milliseconds(submitted.since)
        try:
            with library_faults():
                version = self._write_side_outputs(
                    image.item, image.version, answers, pixels=image.pixels, time=image.time
                )
        except Exception as error:  # whatever its cause, the other inputs go on
            raise_if_interrupted()
            self._fail_image(image, error)
            return
        self._results.append(
            ImageResult(image.item.number, version, submitted.size, milliseconds, answers, image.time, image.place)
        )
        if image.video:
            image.video.finished += 1
            self._end(image.video)

    def _write_side_outputs(
        self,
        item: WorkItem,
        version: ContentVersion,
        answers: Answers,
        *,
        pixels: np.ndarray | None = None,
        time: float | None = None,
    ) -> ContentVersion:
        """Write the side outputs, and return the version of the input file afterwards."""
        outputs = self._task.side_outputs
        if outputs.needs_pixels and pixels is None:
            pixels = open_image(item.source)
        return modified_version(version, item.source) if outputs.make(item.source, pixels, time, answers) else version

    def _complete(self, item: WorkItem, version: ContentVersion) -> None:
        """Finish an item that already has answers, by writing its missing side outputs."""
        if not item.prior or not item.prior.lacks_side_outputs or item.prior.answers is None:
            self._results.append(Unchanged(item.number, version))
            return
        try:
            with library_faults():
                version = self._write_side_outputs(item, version, item.prior.answers)
        except Exception as error:
            raise_if_interrupted()
            self._fail(item, error)
            return
        self._results.append(AddedSideOutputs(item.number, version))

    def _fail_image(self, image: _ItemImage, error: Exception) -> None:
        video = image.video
        if video is None:
            self._items_by_digest.pop(image.version.sha256, None)
            self._fail(image.item, error)
            return
        self._results.append(FrameFailed(image.item.number, image.place))
        video.finished += 1
        video.error = video.error or error
        self._end(video)

    def _end(self, video: _Video) -> None:
        """Add the result that ends a video, once all of its frames have answers."""
        if not video.all_read or video.finished < video.submitted:
            return
        number, place = video.item.number, video.submitted
        if video.late:
            self._results.append(DeadlineReached(number, place))
        elif video.error:
            self._fail(video.item, video.error, place)
        else:
            self._results.append(
                VideoResult(
                    number, video.version, video.size, _milliseconds(video.since), place,
                    frames=video.frames, incomplete=video.incomplete,
                )
            )  # fmt: skip

    def _fail(self, item: WorkItem, error: Exception, place: int = 0) -> None:
        code = next((code for kind, code in ERROR_CODES.items() if isinstance(error, kind)), "input")
        self._results.append(ItemFailed(item.number, code, error_message(error), place))

    # -- detection in all frames of a video

    def _findings(self, item: WorkItem, version: ContentVersion) -> Iterator[Result]:
        videos, model, since = self._task.videos, self._model, time.perf_counter()
        assert videos.find
        detect = tile_detector(object_detector(model, videos.find.prompts, videos.find.threshold), videos.tiles)
        inference, report = ModelInference(videos.find, detect, model.name), Report(item.source.name, "", model.name)
        place, size, live = 0, (0, 0), False

        def tick(*_: object) -> None:
            raise_if_interrupted()
            if self._is_late() and not live:  # a live source can't be resumed
                raise _DeadlinePassed

        try:
            live = is_live(item.source)
            with deferred_interrupts(), library_faults():
                tick()
                found = iter_findings(
                    item.source, inference, report, tick, live=videos.live, timeout=self._task.timeout
                )
                with closing(found) as frames:
                    for info, findings in frames:
                        yield FrameResult(item.number, place, version, info, findings)
                        place, size = place + 1, info.size
        except _DeadlinePassed:
            yield DeadlineReached(item.number, place)
            return
        except ModelUnavailable:  # whatever the input
            raise
        except Exception as error:
            raise_if_interrupted()
            self._fail(item, error, place)
            yield from self._flush()
            return
        milliseconds = _milliseconds(since)
        yield VideoResult(item.number, version, size, milliseconds, place, report.keyframes, report.incomplete, live)


def _milliseconds(since: float) -> float:
    """Milliseconds since a time on the clock of `time.perf_counter`."""
    return round(1000 * (time.perf_counter() - since), 1)
