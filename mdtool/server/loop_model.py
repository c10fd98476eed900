"""A served model as a `VisionModel`, for jobs that run in threads of their own."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.contract import Abilities, ChatRequest, Done, EncodedImage, Event, Failed, Request, Scheduler
from engine.generation.verbs import VisionModel
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.preparation import Submission
from mdtool.server.refusals import QueueFull


@dataclass(frozen=True, eq=False)
class _Pixels(EncodedImage):
    """An image that the engine loop encodes, with all requests that it is in."""

    pixels: np.ndarray


class LoopModel(VisionModel):
    """A served model whose requests share the engine loop's steps with all others."""

    def __init__(self, name: str, engine: EngineLoop, events: asyncio.AbstractEventLoop) -> None:
        """Stand for a model.

        Args:
            name: That it is served under.
            engine: The engine loop.
            events: The running event loop in which requests are submitted; not that of the thread that uses this.
        """
        description = engine.models.describe(name)
        self.name, self.revision, self.setup, self.image_batch_size = name, description.revision, (), 1
        self._abilities, self._engine, self._events = description.abilities, engine, events

    @property
    def abilities(self) -> Abilities:
        """The skills of the model."""
        return self._abilities

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Hold images until they are encoded with their first request; see `VisionModel.encode`."""
        return [_Pixels(image) for image in images]

    def scheduler(self, batch: int | None = None) -> Scheduler:
        """Refuse: the engine loop drives the model's only scheduler."""
        raise NotImplementedError("requests go through the engine loop: use run")

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[Event]:
        """Submit all requests at once, and yield the last event of each in their order; see `VisionModel.run`."""
        ends = self._ends(list(requests))
        return iter(asyncio.run_coroutine_threadsafe(ends, self._events).result())

    async def _ends(self, requests: Sequence[Request]) -> list[Event]:
        return await asyncio.gather(*(self._end(index, request) for index, request in enumerate(requests)))

    async def _end(self, index: int, request: Request) -> Done | Failed:
        assert not isinstance(request, ChatRequest)  # jobs don't chat
        image = request.image
        images = (image.pixels,) if isinstance(image, _Pixels) else ()
        submission = Submission(
            self.name, images, lambda encoded: replace(request, image=encoded[0] if encoded else None)
        )
        while True:
            try:
                running = self._engine.submit(submission)
                break
            except QueueFull:  # a job waits for as long as it takes
                await asyncio.sleep(0.1)
        async for event in running:
            if isinstance(event, Done | Failed):
                return replace(event, index=index)
        raise AssertionError("a request ends with its result or an error")
