"""Asks a model about photos. They are read and encoded a few at a time, asked about together, and answered in order."""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
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
from mdtool.errors import MdtoolError
from mdtool.media.inputs import Input

Event = Piece | Done | Failed


@dataclass(frozen=True, eq=False)
class Asked:
    """One request about one photo.

    size: width and height in pixels, upright; (0, 0) if the photo could not be read. last: no other request about this
    photo comes after it. pixels: HxWx3 uint8 RGB, if they are kept: a long answer can make many others wait.
    """

    source: Input
    request: Request
    size: tuple[int, int]
    last: bool
    pixels: np.ndarray | None = None
    events: deque[Event] = field(default_factory=deque)  # that were not passed on yet


def ask(
    sources: Iterable[Input],
    read: Callable[[Input], np.ndarray],
    model: Model,
    requests: Sequence[Request],
    threshold: float | None = None,
    keep_pixels: bool = False,
) -> Iterator[tuple[Asked, Event]]:
    """What comes of every request about every photo, in their order, each up to its Done or Failed.

    requests: without their image. A photo that `read` raises MdtoolError for, or that the model can't encode, gives
    one Failed in place of its answers.
    """
    waiting: deque[Asked] = deque()
    asked: dict[int, Asked] = {}  # by the engine's index, until they are done
    indices = count()

    def drawn() -> Iterator[Request]:
        rest = iter(sources)
        while chunk := list(islice(rest, model.pictures_at_once)):
            for source, pixels, encoded in _encoded(chunk, read, model):
                if isinstance(encoded, Exception):
                    failed = Failed(-1, encoded)
                    waiting.append(Asked(source, requests[0], (0, 0), last=True, events=deque([failed])))
                    continue
                assert pixels is not None
                size, kept = (pixels.shape[1], pixels.shape[0]), pixels if keep_pixels else None
                for number, request in enumerate(requests, 1):
                    one = Asked(source, request, size, last=number == len(requests), pixels=kept)
                    waiting.append(one)
                    asked[next(indices)] = one
                    yield replace(request, image=encoded)

    for event in _run(model, drawn(), threshold):
        one = asked[event.index] if isinstance(event, Piece) else asked.pop(event.index)
        one.events.append(event)
        yield from _in_order(waiting)
    yield from _in_order(waiting)


def _in_order(waiting: deque[Asked]) -> Iterator[tuple[Asked, Event]]:
    """What has come of the first request, and if that is done, of the next."""
    while waiting and waiting[0].events:
        event = waiting[0].events.popleft()
        yield waiting[0], event
        if not isinstance(event, Piece):
            waiting.popleft()


def _encoded(
    sources: Sequence[Input], read: Callable[[Input], np.ndarray], model: Model
) -> Iterator[tuple[Input, np.ndarray | None, Any]]:
    """(source, pixels, what the model made of them, or the error in its place) of each."""
    images: dict[Input, np.ndarray] = {}
    made: dict[Input, Any] = {}
    for source in sources:
        try:
            images[source] = read(source)
        except (MdtoolError, MemoryError) as error:
            made[source] = error
    made |= zip(images, _encode(model, list(images.values())), strict=True)
    for source in sources:
        yield source, images.get(source), made.pop(source)


def _encode(model: Model, images: Sequence[np.ndarray]) -> list[Any]:
    """What the model made of each, or the error in its place."""
    try:
        return model.encode(images) if images else []
    except (EngineError, ValueError) as error:
        return [error] if len(images) == 1 else [one for image in images for one in _encode(model, [image])]


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
