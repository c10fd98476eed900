"""A request that was submitted to the engine loop, as the coroutine that waits for it sees it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from engine.contract import Done, Event, Failed, Result, TextDelta


@dataclass
class Timings:
    """When a request reached each stage, on the clock of `time.monotonic`; None: it has not.

    Attributes:
        submitted: It was queued.
        started: Its place in the queue came.
        encoded: Its images were encoded, or found.
        prefilled: Its prompt was read.
        first_text: Its first piece of text, or its result, was there.
        ended: It was done, or failed.
    """

    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    encoded: float | None = None
    prefilled: float | None = None
    first_text: float | None = None
    ended: float | None = None

    @property
    def queue(self) -> float:
        """Seconds in the queue."""
        return _between(self.submitted, self.started or self.ended)

    @property
    def encode(self) -> float:
        """Seconds in which its images were encoded; those in which other requests ran count too, here and below."""
        return _between(self.started, self.encoded)

    @property
    def prefill(self) -> float:
        """Seconds of the prefill of its prompt, up to the first token."""
        return _between(self.encoded, self.prefilled)

    @property
    def decode(self) -> float:
        """Seconds from the first token to the end."""
        return _between(self.prefilled, self.ended)

    @property
    def time_to_first_token(self) -> float:
        """Seconds from the submission to the first piece of text, or to a result that has no text."""
        return _between(self.submitted, self.first_text)

    @property
    def total(self) -> float:
        """Seconds from the submission to the end."""
        return _between(self.submitted, self.ended)


def _between(begin: float | None, end: float | None) -> float:
    return 0.0 if begin is None or end is None else end - begin


@dataclass(eq=False)
class Mailbox:
    """Passes events from the engine loop's thread to the coroutine that waits for them.

    Attributes:
        loop: The event loop of that coroutine.
        events: Those that it has not yet taken.
    """

    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)


class Running:
    """An asynchronous iterator over the events of a request: TextDelta ..., then one Done or Failed.

    The request is cancelled where the iteration is left before its end, or nobody refers to this object any more.

    Attributes:
        timings: Complete at the end.
    """

    def __init__(
        self, mailbox: Mailbox, timings: Timings, cancel: Callable[[], None], position: Callable[[], int]
    ) -> None:
        """Serve the events of a mailbox.

        Args:
            mailbox: That the engine loop puts events into.
            timings: That the engine loop sets.
            cancel: Ends the request; without effect on one that has ended.
            position: Returns its place in the queue.
        """
        self._mailbox, self._cancel, self._position = mailbox, cancel, position
        self.timings = timings

    @property
    def position(self) -> int:
        """Its place in the queue, from 1; 0 once it runs."""
        return self._position()

    def cancel(self) -> None:
        """End the request and free its place before the next step."""
        self._cancel()

    async def __aiter__(self) -> AsyncGenerator[TextDelta | Done | Failed]:
        """Yield events as they come."""
        try:
            while True:
                event = await self._mailbox.events.get()
                yield event
                if not isinstance(event, TextDelta):
                    return
        finally:
            self.cancel()

    async def result(self) -> Result:
        """Wait for the end of the request.

        Raises:
            Exception: That the request failed with.
        """
        async for event in self:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                return event.result
        raise AssertionError("a request ends with its result or an error")

    def __del__(self) -> None:
        self.cancel()
