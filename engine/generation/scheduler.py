"""Continuous batching (Yu et al. 2022, Orca): sequences of any kind share the model's steps.

Each sequence ends when it is done, and the next takes its slot. The work on one sequence is a generator, called a flow.
It yields steps and is sent their results:

    Forward(pieces)   the model reads these tokens or values; no result
    Read...           a value is decoded from the last hidden state: the result
    EmitText(text)    text is passed to the caller; no result

Its return value is the result of the request. Flows that wait for the same kind of step are batched.
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

CHUNK = 256  # pieces of a longer prompt that a step reads
CPU_CHUNKS, GPU_CHUNKS = 1, 16  # of several prompts in a step: on a GPU they cost little more than one

R = TypeVar("R")


@dataclass(frozen=True)
class Forward:
    """Step of a flow: feed these pieces, of the types that the decoder's `step` accepts, to the model."""

    pieces: Sequence[Any]


@dataclass(frozen=True)
class EmitText:
    """Step of a flow: pass text to the caller."""

    text: str


Flow = Generator[Any, Any, Any]


class ContextFull(EngineError):
    """Raised inside a flow at a Forward that exceeds the model's context length."""

    def __init__(self) -> None:
        super().__init__("the text is too long for the model's context: make it shorter")


class Decoder(Protocol):
    """What the scheduler needs of a model family."""

    def start(self, prefix: Any) -> Any:
        """Return the cache of a new sequence that continues a prefix; None: an empty one."""

    def room(self, cache: Any) -> int:
        """Return how many more tokens fit into the context."""

    def step(self, feeds: Sequence[tuple[Any, Any, Sequence[Any]]]) -> Tensor:
        """Run the model on the next pieces of several sequences.

        Args:
            feeds: (cache, adapter, pieces) of each.

        Returns:
            The last hidden state of each, (feeds, dim).
        """

    def read(self, reads: Sequence[Any], hidden: Tensor) -> list[Any]:
        """Decode values from hidden states.

        Args:
            reads: Steps of one type.
            hidden: (reads, dim).

        Returns:
            The result of each.
        """


@dataclass(frozen=True)
class Job:
    """The work for one request.

    Attributes:
        flow: Creates the generator.
        prefix: The cached prefix that the sequence continues, as the decoder's `start` takes it.
        adapter: The LoRA adapter of its steps.
        keep: Called with the cache of the sequence at its end.
    """

    flow: Callable[[], Flow]
    prefix: Any = None
    adapter: Any = None
    keep: Callable[[Any], object] | None = None


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[R]):
    ticket: int
    request: R
    already_emitted: int = 0  # pieces of text that the caller got before it was preempted


@dataclass(eq=False)
class _Sequence(Generic[R]):
    origin: _Waiting[R]
    flow: Flow
    adapter: Any
    cache: Any
    keep: Callable[[Any], object] | None
    waiting: Any = None  # the step that the flow has yielded; None at its end
    fed: int = 0  # pieces of it that the model has read
    hidden: Tensor | None = None  # (dim)
    emitted: int = 0  # pieces


class Scheduler(Generic[R]):
    """Batches up to `batch` sequences in each step of the decoder; further requests wait in a queue.

    Must be used from one thread. An exception of a request, even an internal error in its flow, becomes its Failed
    event; the others go on. Out of memory, half of the sequences are preempted and restarted later.
    """

    def __init__(self, decoder: Decoder, batch: int, make_job: Callable[[R], Job], *, chunks_per_step: int = 1) -> None:
        """Start with no requests.

        Args:
            decoder: The model.
            batch: Most sequences in a step.
            make_job: Returns the work for a request; called again where a preempted sequence is restarted.
            chunks_per_step: Most sequences of a step that read a chunk of a long prompt.

        Raises:
            ValueError: Batch is below 1.
        """
        if batch < 1:
            raise ValueError(f"batch must be 1 or more, not {batch}")
        self._decoder, self._batch, self._make_job = decoder, batch, make_job
        self._chunks_per_step = chunks_per_step
        self._tickets = count()
        self._waiting: deque[_Waiting[R]] = deque()
        self._active: list[_Sequence[R]] = []
        self._events: list[Event] = []

    @property
    def idle(self) -> bool:
        """Whether no request waits or is under way, and all events were returned."""
        return not (self._waiting or self._active or self._events)

    @property
    def free_slots(self) -> int:
        """How many more requests the next step would start."""
        return max(0, self._batch - len(self._active) - len(self._waiting))

    def add(self, request: R) -> int:
        """Queue a request.

        Returns:
            Its ticket, the index of its events: tickets count from 0, in the order of `add`.
        """
        ticket = next(self._tickets)
        self._waiting.append(_Waiting(ticket, request))
        return ticket

    def cancel(self, ticket: int) -> None:
        """End a request and free its memory immediately; one that has already ended is left alone.

        The next step returns its last event. For text this is Done, with an Answer of the text so far whose finish is
        "cancelled" (empty for a request that was still waiting); otherwise Failed, with Cancelled.
        """
        waiting = next((entry for entry in self._waiting if entry.ticket == ticket), None)
        sequence = next((entry for entry in self._active if entry.origin.ticket == ticket), None)
        if waiting:
            self._waiting.remove(waiting)
            sequence = self._started(waiting)
        elif sequence:
            self._active.remove(sequence)
        if sequence and sequence.waiting and self._resumed(ticket, sequence.flow.throw, Cancelled()):
            self._events.append(Failed(ticket, Cancelled()))  # the flow would go on: drop it
        if sequence and sequence.keep:
            sequence.keep(sequence.cache)

    def step(self) -> list[Event]:
        """Start waiting requests in free slots, and run one step of the decoder for all sequences under way.

        Returns:
            The events since the last step. Events of the start alone are returned before the decoder runs, so that
            other requests can fill the slots of those that ended there.

        Raises:
            OutOfMemory: A single sequence does not fit into memory.
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
        """Start a sequence; None where that fails or ends it."""
        job = self._resumed(waiting.ticket, self._make_job, waiting.request)
        if job is None:
            return None
        sequence = _Sequence(waiting, job.flow(), job.adapter, self._decoder.start(job.prefix), job.keep)
        self._advance(sequence, None)
        return sequence

    def _decode(self) -> None:
        active = self._active
        feeds = self._feeds()
        try:
            hidden = self._decoder.step([(sequence.cache, sequence.adapter, pieces) for sequence, pieces in feeds])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(active) == 1:
                raise OutOfMemory from error
            self._batch = len(active) // 2
            preempted = [_preempted(sequence) for sequence in active[self._batch :]]
            del active[self._batch :]
            self._waiting.extendleft(reversed(preempted))
            return
        for (sequence, pieces), row in zip(feeds, hidden, strict=True):
            sequence.fed += len(pieces)
            if sequence.fed == len(sequence.waiting.pieces):
                sequence.fed, sequence.hidden = 0, row
                self._advance(sequence, None)
        self._serve_reads()

    def _feeds(self) -> list[tuple[_Sequence[R], Sequence[Any]]]:
        """Return what the next step reads of each sequence: of a long prompt a chunk, and of few sequences at a time.

        Chunks of a prefill among decode steps (Agrawal et al. 2023, Sarathi) keep the other sequences moving. Their
        boundaries don't depend on the company, so neither does the rounding.
        """
        feeds: list[tuple[_Sequence[R], Sequence[Any]]] = []
        chunks = 0
        for sequence in self._active:
            pieces = sequence.waiting.pieces
            if len(pieces) > CHUNK:
                chunks += 1
                if chunks > self._chunks_per_step:
                    continue
                pieces = pieces[sequence.fed : sequence.fed + CHUNK]
            feeds.append((sequence, pieces))
        return feeds

    def _serve_reads(self) -> None:
        """Serve reads until every flow waits for a Forward or has ended, and drop those that have ended."""

        def read(chunk: Sequence[_Sequence[R]]) -> list[Any]:
            hidden = torch.stack([s.hidden for s in chunk if s.hidden is not None])
            return self._decoder.read([s.waiting for s in chunk], hidden)

        while readers := [s for s in self._active if s.waiting and not isinstance(s.waiting, Forward)]:
            for kind in dict.fromkeys(type(s.waiting) for s in readers):
                group = [s for s in readers if type(s.waiting) is kind]
                for sequence, result in zip(group, in_chunks(group, len(group), read), strict=True):
                    self._advance(sequence, result)
        self._active = [sequence for sequence in self._active if sequence.waiting]

    def _advance(self, sequence: _Sequence[R], result: Any) -> None:
        """Run the flow to its next Forward or read, or to its end."""
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
        if step is None and sequence.keep:
            sequence.keep(sequence.cache)

    def _resumed(self, ticket: int, resume: Callable[[Any], Any], value: Any) -> Any:
        """Return `resume(value)`; None where the request ends there, which adds its event."""
        try:
            return resume(value)
        except StopIteration as end:
            self._events.append(Done(ticket, end.value))
        except (EngineError, ValueError) as error:
            # its traceback would keep the sequence and its image alive as long as the event
            self._events.append(Failed(ticket, error.with_traceback(None)))
        except Exception as error:  # an internal error
            self._events.append(Failed(ticket, error))
        return None


def _preempted(sequence: _Sequence[R]) -> _Waiting[R]:
    origin = sequence.origin
    return _Waiting(origin.ticket, origin.request, max(origin.already_emitted, sequence.emitted))
