"""Asks a model about pictures. They are encoded a few at a time, and asked about together."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from engine.contract import (
    ChatRequest,
    Done,
    EncodedImage,
    EngineError,
    Failed,
    Model,
    Request,
    TextDelta,
)
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.read_ahead import PollTimeout
from mdtool.media.sources.inputs import Input

Event = TextDelta | Done | Failed
ImageEncoder = Callable[[Sequence[np.ndarray]], Sequence[EncodedImage]]
MAX_ENCODE_SECONDS = 0.1  # for which encoding pictures keeps the answers under way from their next step


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """One request about one picture.

    index: counts all requests from 0, in their order. picture: with its pixels if they are kept, for a long answer can
    make many others wait. number: counts the requests about a picture from 0. size: width and height in pixels,
    upright; (0, 0) if the picture could not be read. last: no other request about this picture comes after it. since:
    when work on it began, on the clock of `time.perf_counter`.
    """

    index: int
    picture: InputImage
    request: Request
    number: int
    size: tuple[int, int]
    last: bool
    since: float

    @property
    def source(self) -> Input:
        return self.picture.source


def run_requests(
    pictures: Iterable[InputImage | None],
    model: Model,
    requests: Sequence[Request],
    *,
    keep_pixels: bool = False,
    poll_timeout: PollTimeout | None = None,
) -> Iterator[tuple[ImageRequest, Event]]:
    """What comes of every request about every picture, as it comes, each up to its Done or Failed.

    requests: without their image. pictures, patience: as `stream_requests` has them. A picture that could not be read,
    or that the model can't encode, gives one Failed in place of its answers.
    """
    return filter(None, stream_requests(pictures, model, requests, keep_pixels=keep_pixels, poll_timeout=poll_timeout))


def stream_requests(
    pictures: Iterable[InputImage | None],
    model: Model,
    requests: Sequence[Request],
    *,
    keep_pixels: bool = False,
    poll_timeout: PollTimeout | None = None,
    encode: ImageEncoder | None = None,
) -> Iterator[tuple[ImageRequest, Event] | None]:
    """As `run_requests`, of pictures that may come slowly: None stands for there being none yet, and is passed on if
    no answer
    is under way.

    patience: that of the source, which is told when answers are under way, so that it does not keep them waiting.
    encode: in place of the model's own.
    """
    scheduler, poll_timeout = model.scheduler(), poll_timeout or PollTimeout()
    asked: dict[int, ImageRequest] = {}  # by their ticket, until they are done
    failed: deque[tuple[ImageRequest, Failed]] = deque()
    source, ours = iter(pictures), count()
    ended = False

    def some() -> list[InputImage]:
        """Those that are there, as many as are encoded together."""
        nonlocal ended
        chunk: list[InputImage] = []
        while len(chunk) < model.image_batch_size:
            poll_timeout.has_other_work = bool(chunk) or not scheduler.idle
            try:
                picture = next(source)
            except StopIteration:
                ended = True
                break
            if picture is None:
                break
            poll_timeout.reset()
            chunk.append(picture)
        return chunk

    while not (ended and scheduler.idle):
        begin = time.monotonic()
        while not ended and scheduler.free_slots and (chunk := some()):
            since = time.perf_counter()
            for picture, encoded in zip(chunk, _encoded(chunk, encode or model.encode), strict=True):
                kept = picture if keep_pixels else replace(picture, pixels=None)
                if isinstance(encoded, Exception):
                    failed.append(
                        (ImageRequest(next(ours), kept, requests[0], 0, picture.size, True, since), Failed(-1, encoded))
                    )
                    continue
                for number, request in enumerate(requests):
                    last = number == len(requests) - 1
                    ticket = scheduler.add(_about(encoded, request))
                    asked[ticket] = ImageRequest(next(ours), kept, request, number, picture.size, last, since)
            if time.monotonic() - begin > MAX_ENCODE_SECONDS:
                break
        if scheduler.idle and not failed and not ended:
            yield None
        for event in scheduler.step():
            yield (asked[event.index] if isinstance(event, TextDelta) else asked.pop(event.index)), event
            while failed:
                yield failed.popleft()
        if scheduler.idle:
            while failed:
                yield failed.popleft()


def _about(encoded: EncodedImage, request: Request) -> Request:
    assert not isinstance(request, ChatRequest)
    return replace(request, image=encoded)


def in_order(answers: Iterable[tuple[ImageRequest, Event]]) -> Generator[tuple[ImageRequest, Event]]:
    """What `run_requests` gives in the order of the requests: all of the first, as it comes, and then all of the
    next."""
    held: defaultdict[int, deque[tuple[ImageRequest, Event]]] = defaultdict(deque)
    due = 0
    for asked, event in answers:
        held[asked.index].append((asked, event))
        while held[due]:
            one, next_event = held[due].popleft()
            yield one, next_event
            if not isinstance(next_event, TextDelta):
                del held[due]
                due += 1


def _encoded(pictures: Sequence[InputImage], encode: ImageEncoder) -> list[Any]:
    """What the model made of each, or the error in its place."""
    made = iter(_encode([picture.pixels for picture in pictures if picture.pixels is not None], encode))
    return [picture.error if picture.pixels is None else next(made) for picture in pictures]


def _encode(images: Sequence[np.ndarray], encode: ImageEncoder) -> list[Any]:
    """What the model made of each, or the error in its place."""
    try:
        return list(encode(images)) if images else []
    except (EngineError, ValueError) as error:
        return [error] if len(images) == 1 else [one for image in images for one in _encode([image], encode)]
