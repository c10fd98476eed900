"""Continuous batching (Yu et al. 2022, Orca): sequences of any kind share the model's steps, each ends when it is done,
and the next takes its place.

What is done with one sequence is written as a generator, a flow. It yields steps and gets their results:

    Feed(pieces)   these tokens or values are read by the model; no result
    Read(...)      something is decoded from the last hidden state: the result
    Say(text)      text goes out to the caller; no result

and what it returns is the sequence's result. All flows that wait for the same kind of step are served together.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.contract import Done, EngineError, Failed, Piece
from engine.devices import OutOfMemory, in_chunks, is_out_of_memory

PATIENCE = 0.1  # seconds that drawing jobs, which may encode pictures, keeps the others from their next step


@dataclass(frozen=True)
class Feed:
    pieces: Sequence[Any]  # of the kinds that the decoder's `step` knows


@dataclass(frozen=True)
class Say:
    text: str


Flow = Generator[Any, Any, Any]


class ContextFull(EngineError):
    """Raised inside a flow at a Feed that the model's context has no room for."""


class Decoder(Protocol):
    """What a family gives: sequences to start, steps to take together, and hidden states to read."""

    def start(self, prefix: Any) -> Any: ...

    def room(self, tail: Any) -> int:
        """Tokens that the context still takes."""

    def step(self, feeds: Sequence[tuple[Any, Any, Sequence[Any]]]) -> Tensor:
        """feeds: (tail, adapter, pieces) -> the last hidden state of each, (feeds, dim)."""

    def read(self, reads: Sequence[Any], hidden: Tensor) -> list[Any]:
        """The results of reads of one type, one for each row of hidden."""


@dataclass(frozen=True)
class Job:
    """flow: makes the generator, anew if the sequence has to be started again. prefix: what it goes on from."""

    flow: Callable[[], Flow]
    prefix: Any = None
    adapter: Any = None


@dataclass(eq=False)
class _Sequence:
    index: int
    job: Job
    flow: Flow
    tail: Any
    waiting: Any = None  # the step that the flow has yielded
    hidden: Tensor | None = None  # (dim)
    said: int = 0
    silent: int = 0  # pieces that went out before the sequence was started again
    events: list[Piece | Done | Failed] = field(default_factory=list)


def run_jobs(jobs: Iterable[Job], decoder: Decoder, batch: int) -> Iterator[Piece | Done | Failed]:
    """Events of all jobs, numbered in their order, as they come. A job that fails ends alone, as Failed.

    Out of memory, half of the sequences wait and are started again later; OutOfMemory when a single one does not fit.
    ValueError for a batch below 1.
    """
    if batch < 1:
        raise ValueError(f"batch must be 1 or more, not {batch}")
    source = enumerate(jobs)
    active: list[_Sequence] = []
    again: list[_Sequence] = []
    while True:
        begin = time.monotonic()
        while len(active) < batch and (sequence := _next(again, source, decoder)):
            active.append(sequence)
            _advance(sequence, None, decoder)
            if time.monotonic() - begin > PATIENCE:
                break
        if not active:
            return
        _serve_reads(active, decoder)
        for sequence in active:
            yield from sequence.events
            sequence.events.clear()
        if not all(sequence.waiting for sequence in active):
            active = [sequence for sequence in active if sequence.waiting]
            continue  # others take the free places before the next step
        try:
            hidden = decoder.step([(s.tail, s.job.adapter, s.waiting.pieces) for s in active])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(active) == 1:
                raise OutOfMemory from error
            batch = len(active) // 2
            again = [_restarted(sequence, decoder) for sequence in active[batch:]] + again
            active = active[:batch]
            continue
        for sequence, row in zip(active, hidden, strict=True):
            sequence.hidden = row
            _advance(sequence, None, decoder)


def _next(again: list[_Sequence], source: Iterator[tuple[int, Job]], decoder: Decoder) -> _Sequence | None:
    if again:
        return again.pop(0)
    for index, job in source:
        return _Sequence(index, job, job.flow(), decoder.start(job.prefix))
    return None


def _restarted(sequence: _Sequence, decoder: Decoder) -> _Sequence:
    job, silent = sequence.job, max(sequence.said, sequence.silent)
    return _Sequence(sequence.index, job, job.flow(), decoder.start(job.prefix), silent=silent)


def _serve_reads(active: Sequence[_Sequence], decoder: Decoder) -> None:
    """Until every flow has ended or waits for a Feed."""

    def read(some: Sequence[_Sequence]) -> list[Any]:
        hidden = torch.stack([s.hidden for s in some if s.hidden is not None])
        return decoder.read([s.waiting for s in some], hidden)

    while readers := [s for s in active if s.waiting and not isinstance(s.waiting, Feed)]:
        for kind in {type(s.waiting) for s in readers}:
            alike = [s for s in readers if type(s.waiting) is kind]
            for sequence, result in zip(alike, in_chunks(alike, len(alike), read), strict=True):
                _advance(sequence, result, decoder)


def _advance(sequence: _Sequence, result: Any, decoder: Decoder) -> None:
    """Runs the flow on to its next Feed or read, or to its end."""
    try:
        step = sequence.flow.send(result)
        while True:
            if isinstance(step, Say):
                sequence.said += 1
                if sequence.said > sequence.silent:
                    sequence.events.append(Piece(sequence.index, step.text))
                step = sequence.flow.send(None)
            elif isinstance(step, Feed) and len(step.pieces) > decoder.room(sequence.tail):
                step = sequence.flow.throw(ContextFull("the text is too long for the model's context: make it shorter"))
            else:
                sequence.waiting = step
                return
    except StopIteration as end:
        sequence.events.append(Done(sequence.index, end.value))
    except (EngineError, ValueError) as error:
        # its traceback would keep the sequence, with its picture, for as long as the caller keeps the event
        sequence.events.append(Failed(sequence.index, error.with_traceback(None)))
    sequence.waiting = None
