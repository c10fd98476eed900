"""Requests through a scheduler to their end, and the scheduler of models that answer in one go.

Knows nothing of torch, which takes long to import and which not every model needs.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from engine.contract import Done, EngineError, Event, Failed, Request, Result, Scheduler
from engine.generation.request_source import RequestSource


class ImmediateScheduler:
    """Answers one request a step: there is nothing to be gained by serving several together."""

    def __init__(self, answer: Callable[[Request], Result]) -> None:
        """answer: raises EngineError or ValueError for a request that can't be served."""
        self._answer = answer
        self._waiting: deque[tuple[int, Request]] = deque()
        self._added = 0

    @property
    def idle(self) -> bool:
        return not self._waiting

    @property
    def free_slots(self) -> int:
        return int(not self._waiting)

    def add(self, request: Request) -> int:
        ticket, self._added = self._added, self._added + 1
        self._waiting.append((ticket, request))
        return ticket

    def step(self) -> list[Event]:
        if not self._waiting:
            return []
        ticket, request = self._waiting.popleft()
        try:
            return [Done(ticket, self._answer(request))]
        except (EngineError, ValueError) as error:
            return [Failed(ticket, error)]

    def cancel(self, ticket: int) -> None:
        self._waiting = deque(one for one in self._waiting if one[0] != ticket)


def run_requests(scheduler: Scheduler, requests: Iterable[Request]) -> Iterator[Event]:
    """Events of all requests, numbered in their order, as they come.

    Requests are drawn as places come free, so the iterable may be endless. It is drawn on a thread of its own, and may
    take its time: the sequences under way go on. What it raises is raised here. Closing this does not wait long for it.
    Faults of ours, unlike what is wrong with a request, are raised too.
    """
    if isinstance(requests, Sequence):  # they are all there
        for request in requests:
            scheduler.add(request)
        while not scheduler.idle:
            yield from _without_faults(scheduler.step())
        return
    with closing(RequestSource(requests)) as source:
        while True:
            while scheduler.free_slots and not source.ended:
                drawn = source.get(wait=scheduler.idle)
                if drawn is None:
                    break
                scheduler.add(drawn)
                del drawn  # it has a picture
            if scheduler.idle:
                return
            yield from _without_faults(scheduler.step())


def _without_faults(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Failed) and not isinstance(event.error, (EngineError, ValueError)):
            raise event.error
        yield event
