"""Runs requests on images by continuous batching: images are encoded in small batches, requests decoded together."""

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
    Failed,
    Model,
    ModelUnavailable,
    Request,
    TextDelta,
)
from mdtool.errors import library_faults
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.read_ahead import PollTimeout
from mdtool.media.sources.inputs import Input

Event = TextDelta | Done | Failed
ImageEncoder = Callable[[Sequence[np.ndarray]], Sequence[EncodedImage]]
MAX_ENCODE_SECONDS = 0.1  # for which encoding may delay the next decode step of running requests


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """One request on one image.

    Attributes:
        index: Index among all requests, from 0.
        image: The image; without pixels unless they are kept, since a long answer can make many others wait.
        request: The request, without its image.
        number: Index among the requests on this image, from 0.
        size: Width and height in pixels, after EXIF orientation; (0, 0) if the image could not be read.
        last: It is the last request on this image.
        since: When work on it began, on the clock of `time.perf_counter`.
    """

    index: int
    image: InputImage
    request: Request
    number: int
    size: tuple[int, int]
    last: bool
    since: float

    @property
    def source(self) -> Input:
        """The input of the image."""
        return self.image.source


def run_requests(
    images: Iterable[InputImage | None],
    model: Model,
    requests: Sequence[Request],
    *,
    keep_pixels: bool = False,
    poll_timeout: PollTimeout | None = None,
) -> Iterator[tuple[ImageRequest, Event]]:
    """Run every request on every image; see `stream_requests`, which yields None too.

    Yields:
        Events of the requests as they come, each request up to its Done or Failed.
    """
    return filter(None, stream_requests(images, model, requests, keep_pixels=keep_pixels, poll_timeout=poll_timeout))


def stream_requests(
    images: Iterable[InputImage | None],
    model: Model,
    requests: Sequence[Request],
    *,
    keep_pixels: bool = False,
    poll_timeout: PollTimeout | None = None,
    encode: ImageEncoder | None = None,
) -> Iterator[tuple[ImageRequest, Event] | None]:
    """Run every request on every image, where images may come slowly.

    Args:
        images: None means that no image is ready yet.
        model: Encodes the images and runs the requests.
        requests: The requests for each image that has none of its own, without the image.
        keep_pixels: Keep the pixels of each image until its requests are done.
        poll_timeout: The one that the source of the images uses; it is updated while requests are running, so that
            waiting for images does not delay them.
        encode: Image encoder in place of the model's own.

    Yields:
        Events of the requests as they come, each request up to its Done or Failed. An image that could not be read or
        encoded has one Failed, with index -1, in place of those of its requests. None while there is neither an
        image nor a running request.

    Raises:
        EngineError: The model can't go on, whatever the image.
    """
    scheduler, poll_timeout = model.scheduler(), poll_timeout or PollTimeout()
    in_flight: dict[int, ImageRequest] = {}  # by the scheduler's index
    failed: deque[tuple[ImageRequest, Failed]] = deque()
    source, indices = iter(images), count()
    ended = False

    def next_batch() -> list[InputImage]:
        """Return the images that are ready, as many as are encoded together."""
        nonlocal ended
        batch: list[InputImage] = []
        while len(batch) < model.image_batch_size:
            poll_timeout.has_other_work = bool(batch) or not scheduler.idle
            try:
                image = next(source)
            except StopIteration:
                ended = True
                break
            if image is None:
                break
            poll_timeout.reset()
            batch.append(image)
        return batch

    while not (ended and scheduler.idle):
        encoding_since = time.monotonic()
        while not ended and scheduler.free_slots and (batch := next_batch()):
            since = time.perf_counter()
            for image, encoded in zip(batch, _encode_or_errors(batch, encode or model.encode), strict=True):
                retained = image if keep_pixels else replace(image, pixels=None)
                own = image.requests or requests
                if isinstance(encoded, Exception):
                    image_request = ImageRequest(next(indices), retained, own[0], 0, image.size, True, since)
                    failed.append((image_request, Failed(-1, encoded)))
                    continue
                for number, request in enumerate(own):
                    last = number == len(own) - 1
                    image_request = ImageRequest(next(indices), retained, request, number, image.size, last, since)
                    in_flight[scheduler.add(_with_image(request, encoded))] = image_request
            if time.monotonic() - encoding_since > MAX_ENCODE_SECONDS:
                break
        if scheduler.idle and not failed and not ended:
            yield None
        for event in scheduler.step():
            yield (in_flight[event.index] if isinstance(event, TextDelta) else in_flight.pop(event.index)), event
            while failed:
                yield failed.popleft()
        if scheduler.idle:
            while failed:
                yield failed.popleft()


def _with_image(request: Request, encoded: EncodedImage) -> Request:
    assert not isinstance(request, ChatRequest)
    return replace(request, image=encoded)


def in_order(answers: Iterable[tuple[ImageRequest, Event]]) -> Generator[tuple[ImageRequest, Event]]:
    """Put the events of `run_requests` in the order of the requests.

    Yields:
        All events of the first request as they come, then those of the next.
    """
    waiting: defaultdict[int, deque[tuple[ImageRequest, Event]]] = defaultdict(deque)
    current = 0
    for image_request, event in answers:
        waiting[image_request.index].append((image_request, event))
        while waiting[current]:
            next_request, next_event = waiting[current].popleft()
            yield next_request, next_event
            if not isinstance(next_event, TextDelta):
                del waiting[current]
                current += 1


def _encode_or_errors(images: Sequence[InputImage], encode: ImageEncoder) -> list[Any]:
    """Return each image encoded, or the error in its place."""
    encoded = iter(_encode([image.pixels for image in images if image.pixels is not None], encode))
    return [image.error if image.pixels is None else next(encoded) for image in images]


def _encode(images: Sequence[np.ndarray], encode: ImageEncoder) -> list[Any]:
    """Encode images together, or one by one if that fails; an error stands in the place of its image."""
    try:
        with library_faults():
            return list(encode(images)) if images else []
    except ModelUnavailable:  # whatever the image
        raise
    except Exception as error:  # whatever its cause, the other images go on
        raise_if_interrupted()
        return [error] if len(images) == 1 else [each for image in images for each in _encode([image], encode)]
