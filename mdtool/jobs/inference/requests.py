"""Asks a model about pictures. They are encoded a few at a time, and asked about together."""

import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

import numpy as np

from engine.contract import (
    DetectRequest,
    Done,
    EngineError,
    Failed,
    Found,
    Model,
    ObjectLimitWarning,
    Piece,
    PointRequest,
    Request,
)
from mdtool.jobs.inference.picture import Picture
from mdtool.media.sources.inputs import Input

Event = Piece | Done | Failed
Encode = Callable[[Sequence[np.ndarray]], list[Any]]


@dataclass(frozen=True, eq=False)
class Asked:
    """One request about one picture.

    index: counts all requests from 0, in their order. picture: with its pixels if they are kept, for a long answer can
    make many others wait. number: counts the requests about a picture from 0. size: width and height in pixels,
    upright; (0, 0) if the picture could not be read. last: no other request about this picture comes after it. since:
    when work on it began, on the clock of `time.perf_counter`.
    """

    index: int
    picture: Picture
    request: Request
    number: int
    size: tuple[int, int]
    last: bool
    since: float

    @property
    def source(self) -> Input:
        return self.picture.source


def ask(
    pictures: Iterable[Picture],
    model: Model,
    requests: Sequence[Request],
    threshold: float | None = None,
    keep_pixels: bool = False,
) -> Iterator[tuple[Asked, Event]]:
    """What comes of every request about every picture, as it comes, each up to its Done or Failed.

    requests: without their image. A picture that could not be read, or that the model can't encode, gives one Failed
    in place of its answers.
    """
    return filter(None, ask_as_they_come(pictures, model, requests, threshold, keep_pixels))


def ask_as_they_come(
    pictures: Iterable[Picture | None],
    model: Model,
    requests: Sequence[Request],
    threshold: float | None = None,
    keep_pixels: bool = False,
    encode: Encode | None = None,
) -> Iterator[tuple[Asked, Event] | None]:
    """As `ask`, of pictures that may come slowly: None stands for there being none yet, and is passed on if no answer
    is under way. encode: in place of the model's own.

    This is where a model is driven: what it has under way is answered before it waits for more pictures.
    """
    asked: dict[int, Asked] = {}  # by the engine's index, until they are done
    failed: deque[tuple[Asked, Failed]] = deque()
    source, ours = iter(pictures), count()

    def drawn(first: Picture) -> Iterator[Request]:
        """Requests about the first, and about those that come without a pause after it."""
        theirs = count()
        some = chain([first], iter(lambda: next(source, None), None))
        while chunk := list(islice(some, model.pictures_at_once)):
            since = time.perf_counter()
            for picture, encoded in zip(chunk, _encoded(chunk, encode or model.encode), strict=True):
                kept = picture if keep_pixels else replace(picture, pixels=None)
                if isinstance(encoded, Exception):
                    one = Asked(next(ours), kept, requests[0], 0, picture.size, True, since)
                    failed.append((one, Failed(-1, encoded)))
                    continue
                for number, request in enumerate(requests):
                    last = number == len(requests) - 1
                    asked[next(theirs)] = Asked(next(ours), kept, request, number, picture.size, last, since)
                    yield replace(request, image=encoded)

    for first in source:
        if first is None:
            yield None
            continue
        for event in _run(model, drawn(first), threshold):
            yield (asked[event.index] if isinstance(event, Piece) else asked.pop(event.index)), event
            while failed:
                yield failed.popleft()
        while failed:
            yield failed.popleft()


def in_order(answers: Iterable[tuple[Asked, Event]]) -> Iterator[tuple[Asked, Event]]:
    """What `ask` gives in the order of the requests: all of the first, as it comes, and then all of the next."""
    held: defaultdict[int, deque[tuple[Asked, Event]]] = defaultdict(deque)
    due = 0
    for asked, event in answers:
        held[asked.index].append((asked, event))
        while held[due]:
            one, next_event = held[due].popleft()
            yield one, next_event
            if not isinstance(next_event, Piece):
                del held[due]
                due += 1


def _encoded(pictures: Sequence[Picture], encode: Encode) -> list[Any]:
    """What the model made of each, or the error in its place."""
    made = iter(_encode([picture.pixels for picture in pictures if picture.pixels is not None], encode))
    return [picture.error if picture.pixels is None else next(made) for picture in pictures]


def _encode(images: Sequence[np.ndarray], encode: Encode) -> list[Any]:
    """What the model made of each, or the error in its place."""
    try:
        return encode(images) if images else []
    except (EngineError, ValueError) as error:
        return [error] if len(images) == 1 else [one for image in images for one in _encode([image], encode)]


def _run(model: Model, requests: Iterable[Request], threshold: float | None) -> Iterator[Event]:
    """As `LanguageModel.run`, for any model."""
    if run := getattr(model, "run", None):
        yield from run(requests)
        return
    for index, request in enumerate(requests):
        assert isinstance(request, DetectRequest | PointRequest)
        try:
            yield Done(index, _found(model, request, threshold))
        except (EngineError, ValueError) as error:
            yield Failed(index, error)


def _found(model: Model, request: DetectRequest | PointRequest, threshold: float | None) -> Found:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ObjectLimitWarning)
        if isinstance(request, DetectRequest):
            items: list[Any] = model.detect([request.image], request.prompt, threshold, request.max_objects)[0]
        else:
            items = model.point([request.image], request.prompt, request.max_objects)[0]
    return Found(items, complete=not any(issubclass(w.category, ObjectLimitWarning) for w in caught))
