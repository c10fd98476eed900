"""Requests through a scheduler to their end, and the scheduler of models that answer in one go.

Knows nothing of torch, which takes long to import and which not every model needs.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from engine.contract import Done, EngineError, Event, Failed, Request, Result, Scheduler


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
    def free_places(self) -> int:
        return 1 - min(1, len(self._waiting))

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
    """Serve requests as places come free, and give their events as they come."""
    source = iter(requests)
    more = True
    while more or not scheduler.idle:
        while more and scheduler.free_places:
            request = next(source, None)
            more = request is not None
            if request is not None:
                scheduler.add(request)
        yield from scheduler.step()
