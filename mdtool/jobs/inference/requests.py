"""Asks a model about pictures. They are encoded a few at a time, and asked about together."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from engine.contract import Done, EncodedImage, EngineError, Failed, Model, Piece, Request
from mdtool.jobs.inference.picture import Picture
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.stages import POLL_SECONDS, Patience

Event = Piece | Done | Failed
Encode = Callable[[Sequence[np.ndarray]], Sequence[EncodedImage]]


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
    pictures: Iterable[Picture | None],
    model: Model,
    requests: Sequence[Request],
    *,
    keep_pixels: bool = False,
    encode: Encode | None = None,
    patience: Patience | None = None,
) -> Iterator[tuple[Asked, Event] | None]:
    """What comes of every request about every picture, as it comes, each up to its Done or Failed.

    Pictures may come slowly: None stands for there being none yet. What is under way goes on meanwhile, and new
    pictures take the places that come free. A picture that could not be read, or that the model can't encode, gives one
    Failed in place of its answers.

    Args:
        pictures: each is asked about once; None is passed on where nothing is under way.
        model: is driven here, and nowhere else meanwhile.
        requests: without their image.
        keep_pixels: whether `Asked.picture` keeps them.
        encode: in place of the model's own.
        patience: how long the pictures wait before they give None; set to no time while answers are under way.
    """
    scheduler = model.scheduler()
    asked: dict[int, Asked] = {}  # by ticket, until they are done
    failed: deque[tuple[Asked, Failed]] = deque()
    source, numbers, more = iter(pictures), count(), True
    while more or not scheduler.idle:
        if patience:
            patience.seconds = POLL_SECONDS if scheduler.idle else 0.0
        chunk: list[Picture] = []
        waits = False
        while more and not waits and scheduler.free_places and len(chunk) < model.pictures_at_once:
            try:
                picture = next(source)
            except StopIteration:
                more = False
                break
            waits = picture is None
            if picture is not None:
                chunk.append(picture)
        since = time.perf_counter()
        for picture, encoded in zip(chunk, _encoded(chunk, encode or model.encode), strict=True):
            kept = picture if keep_pixels else replace(picture, pixels=None)
            if isinstance(encoded, Exception):
                one = Asked(next(numbers), kept, requests[0], 0, picture.size, True, since)
                failed.append((one, Failed(-1, encoded)))
                continue
            for number, request in enumerate(requests):
                last = number == len(requests) - 1
                ticket = scheduler.add(replace(request, image=encoded))
                asked[ticket] = Asked(next(numbers), kept, request, number, picture.size, last, since)
        if scheduler.idle and waits:
            yield None
        for event in scheduler.step():
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
        return list(encode(images)) if images else []
    except (EngineError, ValueError) as error:
        return [error] if len(images) == 1 else [one for image in images for one in _encode([image], encode)]
