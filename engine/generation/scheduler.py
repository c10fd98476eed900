"""Continuous batching (Yu et al. 2022, Orca): sequences of any kind share the model's steps, each ends when it is done,
and the next takes its place.

What is done with one sequence is written as a generator, a flow. It yields steps and gets their results:

    Forward(pieces)   these tokens or values are read by the model; no result
    Read(...)      something is decoded from the last hidden state: the result
    EmitText(text)      text goes out to the caller; no result

and what it returns is the sequence's result. All flows that wait for the same kind of step are served together.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from engine.contract import Cancelled, Done, EngineError, Event, Failed, TextDelta
from engine.devices import OutOfMemory, in_chunks, is_out_of_memory

R = TypeVar("R")


@dataclass(frozen=True)
class Forward:
    pieces: Sequence[Any]  # of the kinds that the decoder's `step` knows


@dataclass(frozen=True)
class EmitText:
    text: str


Flow = Generator[Any, Any, Any]


class ContextFull(EngineError):
    """Raised inside a flow at a Forward that the model's context has no room for."""

    def __init__(self) -> None:
        super().__init__("the text is too long for the model's context: make it shorter")


class Decoder(Protocol):
    """What a family gives: sequences to start, steps to take together, and hidden states to read."""

    def start(self, prefix: Any) -> Any: ...

    def room(self, cache: Any) -> int:
        """Tokens that the context still takes."""

    def step(self, feeds: Sequence[tuple[Any, Any, Sequence[Any]]]) -> Tensor:
        """feeds: (tail, adapter, pieces) -> the last hidden state of each, (feeds, dim)."""

    def read(self, reads: Sequence[Any], hidden: Tensor) -> list[Any]:
        """The results of reads of one type, one for each row of hidden."""


@dataclass(frozen=True)
class Job:
    """flow: makes the generator. prefix: what it goes on from."""

    flow: Callable[[], Flow]
    prefix: Any = None
    adapter: Any = None


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[R]):
    """silent: pieces that went out before it had to wait again."""

    ticket: int
    request: R
    already_emitted: int = 0


@dataclass(eq=False)
class _Sequence(Generic[R]):
    origin: _Waiting[R]
    flow: Flow
    adapter: Any
    cache: Any
    waiting: Any = None  # the step that the flow has yielded; None at its end
    hidden: Tensor | None = None  # (dim)
    emitted: int = 0  # pieces


class Scheduler(Generic[R]):
    """Requests are added at any time, `batch` of them share the decoder's steps, and the rest wait in their order.

    Whoever drives it does so from one thread. What a request raises, be it a fault of its own flow, is its Failed; the
    others go on. Out of memory, half of the sequences wait and are started again later.
    """

    def __init__(self, decoder: Decoder, batch: int, make_job: Callable[[R], Job]) -> None:
        """make_job: what is to be done for a request; asked again where a sequence has to be started again.

        ValueError for a batch below 1.
        """
        if batch < 1:
            raise ValueError(f"batch must be 1 or more, not {batch}")
        self._decoder, self._batch, self._make_job = decoder, batch, make_job
        self._tickets = count()
        self._waiting: deque[_Waiting[R]] = deque()
        self._active: list[_Sequence[R]] = []
        self._events: list[Event] = []

    @property
    def idle(self) -> bool:
        """Nothing waits or is under way, and all events are out."""
        return not (self._waiting or self._active or self._events)

    @property
    def free_slots(self) -> int:
        """How many more requests would be started by the next step."""
        return max(0, self._batch - len(self._active) - len(self._waiting))

    def add(self, request: R) -> int:
        """The ticket, which is the index of the request's events: they count from 0, in the order of `add`."""
        ticket = next(self._tickets)
        self._waiting.append(_Waiting(ticket, request))
        return ticket

    def cancel(self, ticket: int) -> None:
        """Ends a request and frees its memory at once; of one that has ended nothing more comes.

        The next step gives its last event: of a text Done, with an Answer of the text so far whose finish is
        "cancelled" (none so far for one that waits for its start), and of any other Failed, with Cancelled.
        """
        waiting = next((one for one in self._waiting if one.ticket == ticket), None)
        sequence = next((one for one in self._active if one.origin.ticket == ticket), None)
        if waiting:
            self._waiting.remove(waiting)
            sequence = self._started(waiting)
        elif sequence:
            self._active.remove(sequence)
        if sequence and sequence.waiting and self._resumed(ticket, sequence.flow.throw, Cancelled()):
            self._events.append(Failed(ticket, Cancelled()))  # it would go on, and is dropped

    def step(self) -> list[Event]:
        """Starts what waits, as far as there are places, and lets the decoder take a step of all that is under way.

        Returns what has come of it. What comes of the start alone is returned before the decoder's step, so that
        others can take the places of those that ended there. OutOfMemory when a single sequence does not fit.
        """
        while self._waiting and len(self._active) < self._batch:
            if sequence := self._started(self._waiting.popleft()):
                self._active.append(sequence)
        self._serve_reads()
        if not self._events and self._active:
            self._decode()
        events, self._events = self._events, []
        return events

    def _started(self, waiting: _Waiting[R]) -> _Sequence[R] | None:
        """None where that fails."""
        job = self._resumed(waiting.ticket, self._make_job, waiting.request)
        if job is None:
            return None
        sequence = _Sequence(waiting, job.flow(), job.adapter, self._decoder.start(job.prefix))
        self._advance(sequence, None)
        return sequence

    def _decode(self) -> None:
        active = self._active
        try:
            hidden = self._decoder.step([(s.cache, s.adapter, s.waiting.pieces) for s in active])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(active) == 1:
                raise OutOfMemory from error
            self._batch = len(active) // 2
            again = [_again(sequence) for sequence in active[self._batch :]]
            del active[self._batch :]
            self._waiting.extendleft(reversed(again))
            return
        for sequence, row in zip(active, hidden, strict=True):
            sequence.hidden = row
            self._advance(sequence, None)
        self._serve_reads()

    def _serve_reads(self) -> None:
        """Until every flow has ended or waits for a Forward. Those that have ended go."""

        def read(some: Sequence[_Sequence[R]]) -> list[Any]:
            hidden = torch.stack([s.hidden for s in some if s.hidden is not None])
            return self._decoder.read([s.waiting for s in some], hidden)

        while readers := [s for s in self._active if s.waiting and not isinstance(s.waiting, Forward)]:
            for kind in dict.fromkeys(type(s.waiting) for s in readers):
                alike = [s for s in readers if type(s.waiting) is kind]
                for sequence, result in zip(alike, in_chunks(alike, len(alike), read), strict=True):
                    self._advance(sequence, result)
        self._active = [sequence for sequence in self._active if sequence.waiting]

    def _advance(self, sequence: _Sequence[R], result: Any) -> None:
        """Runs the flow on to its next Forward or read, or to its end."""
        ticket, flow = sequence.origin.ticket, sequence.flow
        step = self._resumed(ticket, flow.send, result)
        while True:
            if isinstance(step, EmitText):
                sequence.emitted += 1
                if sequence.emitted > sequence.origin.already_emitted:
                    self._events.append(TextDelta(ticket, step.text))
                step = self._resumed(ticket, flow.send, None)
            elif isinstance(step, Forward) and len(step.pieces) > self._decoder.room(sequence.cache):
                step = self._resumed(ticket, flow.throw, ContextFull())
            else:
                break
        sequence.waiting = step

    def _resumed(self, ticket: int, resume: Callable[[Any], Any], value: Any) -> Any:
        """What `resume(value)` gives; None where the request ends there, of which there is an event then."""
        try:
            return resume(value)
        except StopIteration as end:
            self._events.append(Done(ticket, end.value))
        except (EngineError, ValueError) as error:
            # its traceback would keep the sequence, with its picture, for as long as the caller keeps the event
            self._events.append(Failed(ticket, error.with_traceback(None)))
        except Exception as error:  # a fault of ours
            self._events.append(Failed(ticket, error))
        return None


def _again(sequence: _Sequence[R]) -> _Waiting[R]:
    origin = sequence.origin
    return _Waiting(origin.ticket, origin.request, max(origin.already_emitted, sequence.emitted))
