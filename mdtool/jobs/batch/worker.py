"""What a loaded model does with the items of a batch: each is read, encoded, asked about, and gives results."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from engine.contract import Done, EngineError, Failed, TextDelta
from engine.generation.verbs import VisionModel
from mdtool.errors import OutputError, ReadTimeout
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.jobs.batch.content_version import ContentVersion, file_state
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
from mdtool.jobs.each_input import error_message
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.read_ahead import PollTimeout, ReadResult
from mdtool.jobs.inference.requests import ImageEncoder, ImageRequest, stream_requests
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
    """One whose frames are asked about. frames: how many there are, with those that were answered before.

    asked, finished: how many are asked about, and have an answer or have failed. all_read: there are no more; late:
    they were left, for the time was up. error: why it can't be answered.
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

    def picture(self, frame: VideoFrame) -> "_ItemImage":
        """The next that is asked about."""
        return _ItemImage(
            self.item.source, frame.pixels, item=self.item, version=self.version, time=frame.time, place=self.submitted,
            video=self,
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class _ItemImage(InputImage):
    """A picture of an item; time, place, video: of a frame of a video."""

    item: WorkItem
    version: ContentVersion
    time: float | None = None
    place: int = 0
    video: _Video | None = None


class _DeadlinePassed(Exception):
    """In the midst of a video."""


class Worker:
    """Call `read` in any threads, and iterate `results` in one."""

    def __init__(self, model: VisionModel, task: BatchTask, encode: ImageEncoder | None = None) -> None:
        """encode: in place of the model's own."""
        self._model, self._task, self._encode = model, task, encode
        self._in_flight: dict[tuple[int, int], dict[int, Done | Failed]] = {}  # by item and place, then request
        self._results: deque[Result] = deque()  # that wait to be given out
        self._contents: dict[str, int | None] = dict.fromkeys(
            task.known_digests
        )  # digests, and the items that have them
        self._next: tuple[WorkItem, ContentVersion] | None = None  # a video in all of which things are to be found
        self._all_read = False
        self._waited = 0.0
        self.poll_timeout = PollTimeout()  # that inputs are to have

    def read(self, item: WorkItem) -> InputContent:
        """What the input of an item holds. Raises InputError."""
        return read_input(item, self._task.videos)

    def results(self, inputs: Iterable[ReadItem | None]) -> Generator[Result]:
        """What comes of the items, as it comes. inputs: None stands for there being none yet.

        Raises EngineError where the model can't go on.
        """
        source = iter(inputs)
        while not self._all_read:
            yield from self._answers(source)
            if self._next:
                item, version = self._next
                self._next = None
                yield from self._findings(item, version)

    # -- what the model is asked about

    def _answers(self, source: Iterator[ReadItem | None]) -> Iterator[Result]:
        """Up to a video in all of which things are to be found, for which nothing else may be under way."""
        task, keep = self._task, self._task.side_outputs.needs_pixels
        pictures = self._pictures(source)
        events = stream_requests(
            pictures, self._model, task.requests, keep_pixels=keep, poll_timeout=self.poll_timeout, encode=self._encode
        )
        for one in events:
            if one and not isinstance(one[1], TextDelta):
                self._take(one[0], one[1])
            yield from self._to_give()
        yield from self._to_give()

    def _to_give(self) -> Iterator[Result]:
        waited, self._waited = self._waited, 0.0
        yield InputWait(waited)
        while self._results:
            yield self._results.popleft()

    def _pictures(self, source: Iterator[ReadItem | None]) -> Iterator[_ItemImage | None]:
        for read in self._timed(source):
            if read is None:
                yield None
                continue
            yield from self._pictures_of(read)
            if self._next:
                return
            if self._results and not self._in_flight:
                yield None  # so that they are given out
        self._all_read = True

    def _timed(self, items: Iterator[T]) -> Iterator[T]:
        while True:
            begin = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - begin
            yield item

    def _pictures_of(self, read: ReadItem) -> Iterator[_ItemImage | None]:
        item, content = read.item, read.value
        if content is None:
            assert read.error
            self._fail(item, read.error)
        elif content.is_video and self._is_still_written(item, content.version):
            self._results.append(FileStillChanging(item.number))
        elif content.is_video and self._task.videos.find:
            self._next = item, content.version
        elif content.is_video:
            yield from self._frames(_Video(item, content.version))
        elif content.pixels is None:
            self._complete(item, content.version)
        elif self._is_new(item, content.version):
            yield self._begun(_ItemImage(item.source, content.pixels, item=item, version=content.version))

    def _is_still_written(self, item: WorkItem, version: ContentVersion) -> bool:
        return self._task.watch and item.source.path is not None and file_state(item.source) != version.state

    def _is_new(self, item: WorkItem, version: ContentVersion) -> bool:
        """Whether a picture is to be asked about; of one that is equal to another it is noted that it is."""
        content = version.sha256
        if self._task.dedupe and content:
            if content in self._contents and not item.force:
                self._results.append(Duplicate(item.number, version, self._contents[content]))
                return False
            self._contents[content] = item.number
        return True

    def _begun(self, picture: _ItemImage) -> _ItemImage:
        self._in_flight[picture.item.number, picture.place] = {}
        return picture

    def _frames(self, video: _Video) -> Iterator[_ItemImage | None]:
        """Those that are not answered."""
        item, task = video.item, self._task
        prior = item.prior.times if item.prior and item.prior.identity == video.version.identity else ()
        try:
            ahead: Generator[VideoFrame | VideoDamage | Idle]
            ahead = prefetch_with_idle(
                sampled_frames(item.source, task.videos), FRAMES_AHEAD, task.timeout, self.poll_timeout.seconds
            )
            with closing(ahead) as frames:
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
                        if frame.time not in prior:
                            picture = self._begun(video.picture(frame))
                            video.submitted += 1
                            yield picture
        except Exception as error:
            raise_if_interrupted()  # else the interruption may have come out as an error of what was under way
            video.error = error
        video.all_read = True
        self._end(video)

    def _is_late(self) -> bool:
        return self._task.deadline is not None and time.time() > self._task.deadline

    # -- what comes of it

    def _take(self, submitted: ImageRequest, event: Done | Failed) -> None:
        picture, requests = submitted.picture, self._task.requests
        assert isinstance(picture, _ItemImage)
        place = picture.item.number, picture.place
        results = self._in_flight[place]
        results[submitted.number] = event
        is_encoded = not isinstance(event, Failed) or event.index >= 0  # else that is all that comes of it
        if is_encoded and len(results) < len(requests):
            return
        del self._in_flight[place]
        if failed := next((one for one in results.values() if isinstance(one, Failed)), None):
            self._fail_picture(picture, failed.error)
            return
        done = [one for _, one in sorted(results.items()) if isinstance(one, Done)]
        answers = [answer_entry(request, one.result) for request, one in zip(requests, done, strict=True)]
        spent = _milliseconds(submitted.since)
        try:
            version = self._made(picture.item, picture.version, answers, pixels=picture.pixels, time=picture.time)
        except Exception as error:  # be it a fault of ours or of a library: the other inputs go on
            raise_if_interrupted()
            self._fail_picture(picture, error)
            return
        self._results.append(
            ImageResult(picture.item.number, version, submitted.size, spent, answers, picture.time, picture.place)
        )
        if picture.video:
            picture.video.finished += 1
            self._end(picture.video)

    def _made(
        self,
        item: WorkItem,
        version: ContentVersion,
        answers: Answers,
        *,
        pixels: np.ndarray | None = None,
        time: float | None = None,
    ) -> ContentVersion:
        """Makes what is wanted beside the record; the version of the file as it is then."""
        outputs = self._task.side_outputs
        if outputs.needs_pixels and pixels is None:
            pixels = open_image(item.source)
        return modified_version(version, item.source) if outputs.make(item.source, pixels, time, answers) else version

    def _complete(self, item: WorkItem, version: ContentVersion) -> None:
        """An item that is answered: what is lacking beside its record is made."""
        if not item.prior or not item.prior.lacks_side_outputs or item.prior.answers is None:
            self._results.append(Unchanged(item.number, version))
            return
        try:
            version = self._made(item, version, item.prior.answers)
        except Exception as error:
            raise_if_interrupted()
            self._fail(item, error)
            return
        self._results.append(AddedSideOutputs(item.number, version))

    def _fail_picture(self, picture: _ItemImage, error: Exception) -> None:
        video = picture.video
        if video is None:
            self._contents.pop(picture.version.sha256, None)
            self._fail(picture.item, error)
            return
        self._results.append(FrameFailed(picture.item.number, picture.place))
        video.finished += 1
        video.error = video.error or error
        self._end(video)

    def _end(self, video: _Video) -> None:
        """Once all of its frames are answered."""
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

    # -- finding things in all frames of a video

    def _findings(self, item: WorkItem, version: ContentVersion) -> Iterator[Result]:
        videos, model, since = self._task.videos, self._model, time.perf_counter()
        assert videos.find
        detect = tile_detector(object_detector(model, videos.find.prompts, videos.find.threshold), videos.tiles)
        inference, report = ModelInference(videos.find, detect, model.name), Report(item.source.name, "", model.name)
        place, size, live = 0, (0, 0), False

        def tick(*_: object) -> None:
            raise_if_interrupted()
            if self._is_late() and not live:  # which can't be begun again
                raise _DeadlinePassed

        try:
            live = is_live(item.source)
            with deferred_interrupts():
                tick()
                made = iter_findings(item.source, inference, report, tick, live=videos.live, timeout=self._task.timeout)
                with closing(made) as frames:
                    for info, findings in frames:
                        yield FrameResult(item.number, place, version, info, findings)
                        place, size = place + 1, info.size
        except _DeadlinePassed:
            yield DeadlineReached(item.number, place)
            return
        except Exception as error:
            raise_if_interrupted()
            self._fail(item, error, place)
            yield from self._to_give()
            return
        spent = _milliseconds(since)
        yield VideoResult(item.number, version, size, spent, place, report.keyframes, report.incomplete, live)


def _milliseconds(since: float) -> float:
    """since: on the clock of `time.perf_counter`."""
    return round(1000 * (time.perf_counter() - since), 1)
