"""Asks a model about photos. They are encoded a few at a time, and asked about together."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np

from engine.contract import DetectRequest, Done, EncodedImage, EngineError, Failed, Model, Piece, Request
from mdtool.jobs.inference.image_input import Shot
from mdtool.media.sources.inputs import Input

Event = Piece | Done | Failed
Encode = Callable[[Sequence[np.ndarray]], Sequence[EncodedImage]]


@dataclass(frozen=True, eq=False)
class Asked:
    """One request about one photo.

    index: counts all requests from 0, in their order. shot: with its pixels if they are kept, for a long answer can
    make many others wait. number: counts the requests about a photo from 0. size: width and height in pixels, upright;
    (0, 0) if the photo could not be read. last: no other request about this photo comes after it. since: when work on
    it began, on the clock of `time.perf_counter`.
    """

    index: int
    shot: Shot
    request: Request
    number: int
    size: tuple[int, int]
    last: bool
    since: float

    @property
    def source(self) -> Input:
        return self.shot.source


def ask(
    shots: Iterable[Shot],
    model: Model,
    requests: Sequence[Request],
    threshold: float | None = None,
    keep_pixels: bool = False,
    encode: Encode | None = None,
) -> Generator[tuple[Asked, Event]]:
    """What comes of every request about every photo, as it comes, each up to its Done or Failed.

    requests: without their image. shots: may be drawn on another thread than the caller's. encode: in place of the
    model's own. A photo that could not be read, or that the model can't encode, gives one Failed in place of its
    answers.
    """
    asked: dict[int, Asked] = {}  # by the engine's index, until they are done
    failed: deque[tuple[Asked, Failed]] = deque()
    theirs, ours = count(), count()

    def drawn() -> Iterator[Request]:
        rest = iter(shots)
        while chunk := list(islice(rest, model.pictures_at_once)):
            since = time.perf_counter()
            for shot, encoded in zip(chunk, _encoded(chunk, encode or model.encode), strict=True):
                kept = shot if keep_pixels else replace(shot, pixels=None)
                if isinstance(encoded, Exception):
                    one = Asked(next(ours), kept, requests[0], 0, shot.size, True, since)
                    failed.append((one, Failed(-1, encoded)))
                    continue
                for number, request in enumerate(requests):
                    last = number == len(requests) - 1
                    asked[next(theirs)] = Asked(next(ours), kept, request, number, shot.size, last, since)
                    if isinstance(request, DetectRequest):
                        yield replace(request, image=encoded, threshold=threshold)
                    else:
                        yield replace(request, image=encoded)

    for event in model.run(drawn()):
        yield (asked[event.index] if isinstance(event, Piece) else asked.pop(event.index)), event
        while failed:
            yield failed.popleft()
    yield from failed


def in_order(answers: Iterable[tuple[Asked, Event]]) -> Generator[tuple[Asked, Event]]:
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


def _encoded(shots: Sequence[Shot], encode: Encode) -> list[Any]:
    """What the model made of each, or the error in its place."""
    made = iter(_encode([shot.pixels for shot in shots if shot.pixels is not None], encode))
    return [shot.error if shot.pixels is None else next(made) for shot in shots]


def _encode(images: Sequence[np.ndarray], encode: Encode) -> list[Any]:
    """What the model made of each, or the error in its place."""
    try:
        return list(encode(images)) if images else []
    except (EngineError, ValueError) as error:
        return [error] if len(images) == 1 else [one for image in images for one in _encode([image], encode)]
