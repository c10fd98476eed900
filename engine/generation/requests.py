"""Runs requests through a scheduler, and a scheduler for models that answer in a single step.

Does not import torch, which is slow to load and which not every model needs.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing

from engine.contract import Done, EngineError, Event, Failed, Request, Result, Scheduler
from engine.generation.request_source import RequestSource


class ImmediateScheduler:
    """Answers one request a step, for models that gain nothing from batching. See `engine.contract.Scheduler`."""

    def __init__(self, answer: Callable[[Request], Result]) -> None:
        """Serve requests with a function.

        Args:
            answer: Raises EngineError or ValueError for a request that can't be served.
        """
        self._answer = answer
        self._waiting: deque[tuple[int, Request]] = deque()
        self._added = 0

    @property
    def idle(self) -> bool:
        """Whether no request waits."""
        return not self._waiting

    @property
    def free_slots(self) -> int:
        """How many more requests the next step would start."""
        return int(not self._waiting)

    def add(self, request: Request) -> int:
        """Queue a request and return its ticket."""
        ticket, self._added = self._added, self._added + 1
        self._waiting.append((ticket, request))
        return ticket

    def step(self) -> list[Event]:
        """Answer the oldest request."""
        if not self._waiting:
            return []
        ticket, request = self._waiting.popleft()
        try:
            return [Done(ticket, self._answer(request))]
        except (EngineError, ValueError) as error:
            return [Failed(ticket, error)]

    def cancel(self, ticket: int) -> None:
        """Drop a request that waits."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != ticket)


def run_requests(scheduler: Scheduler, requests: Iterable[Request]) -> Generator[Event, None, None]:
    """Run requests to their end.

    Args:
        scheduler: One that no other caller uses.
        requests: Taken as slots become free, so the iterable may be endless. It runs in a thread of its own and may be
            slow: the sequences under way go on. Closing the generator does not wait long for it.

    Yields:
        The events of all requests as they come, indexed in the order of the requests.

    Raises:
        Exception: What the iterable raised, or an internal error; an invalid request gives a Failed event instead.
    """
    if isinstance(requests, Sequence):  # no need for a thread
        for request in requests:
            scheduler.add(request)
        while not scheduler.idle:
            yield from _raise_internal_errors(scheduler.step())
        return
    with closing(RequestSource(requests)) as source:
        while True:
            while scheduler.free_slots and not source.ended:
                request = source.get(wait=scheduler.idle)
                if request is None:
                    break
                scheduler.add(request)
                del request  # it holds an encoded image
            if scheduler.idle:
                return
            yield from _raise_internal_errors(scheduler.step())


def _raise_internal_errors(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Failed) and not isinstance(event.error, (EngineError, ValueError)):
            raise event.error
        yield event
