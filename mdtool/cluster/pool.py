"""A pool of actors on Ray Data, which runs chunks of items.

A chunk has its whole result or none: at the end of a dataset those of lost actors have none. Their items are run again
one by one, so that an item that kills its process fails alone.
"""

import os
import pickle
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import mdtool
from mdtool.cluster.share import Share
from mdtool.errors import MdtoolError
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.batch.messages import Redone
from mdtool.jobs.each_input import error_message
from mdtool.memory import choose_budget, chosen_budget
from mdtool.model_selection import ModelNotFound
from mdtool.network.reach import allow_private, private_allowed
from mdtool.pipeline.stages import POLL_SECONDS

CHUNKS_AHEAD = 2  # that an actor holds; one where another would be lost together with it


class Setup(Protocol):
    """What an actor needs before its first chunk; it is pickled."""

    def start(self) -> Callable[[Sequence[Any]], Any]:
        """Load the model, and return what runs a chunk of items; its result is pickled."""


@dataclass(frozen=True)
class Lost:
    """Items that have no result, since the actor was lost each time."""

    items: Sequence[Any]
    tries: int


@dataclass(frozen=True)
class _Unusable:
    """Why no actor can continue, in place of the result of a chunk."""

    cause: str


class _RayFault(Exception):
    """Ray itself has failed, as when the head node is lost."""


@dataclass(frozen=True)
class Pool:
    """The actors of a cluster that this process is connected to.

    Attributes:
        retries: How often an item is run again whose actor was lost.
    """

    share: Share
    retries: int

    def run(self, setup: Setup, chunks: Sequence[Sequence[Any]]) -> Iterator[Any]:
        """Run chunks of items.

        Yields:
            The result of each chunk as it is done; None several times a second while there is none; Redone before
            items are run again; at the end Lost, if there are any.

        Raises:
            ModelNotFound: No actor can continue.
            MdtoolError: Ray has failed.
        """
        fault: _RayFault | None = None
        for attempt in range(self.retries + 1):
            if not chunks:
                return
            if attempt:
                yield Redone(sum(map(len, chunks)))
            left, fault = dict(enumerate(chunks)), None
            try:
                for done in self._round(setup, chunks, 1 if attempt else CHUNKS_AHEAD):
                    if done is None:
                        yield None
                        continue
                    index, result = pickle.loads(done)
                    if isinstance(result, _Unusable):
                        raise ModelNotFound(result.cause)
                    del left[index]
                    yield result
            except _RayFault as error:
                fault = error
            chunks = [[item] for chunk in left.values() for item in chunk]
        if fault:
            raise MdtoolError(f"--ray: {fault}") from fault
        if chunks:
            yield Lost([item for chunk in chunks for item in chunk], self.retries + 1)

    def _round(self, setup: Setup, chunks: Sequence[Sequence[Any]], ahead: int) -> Iterator[bytes | None]:
        """Yield the pickled index and result of each chunk that has one; None while nothing comes."""
        import ray.data

        actors = ray.data.ActorPoolStrategy(
            size=min(self.share.actors, len(chunks)), max_tasks_in_flight_per_actor=ahead
        )
        rows = [{"chunk": pickle.dumps(chunk)} for chunk in enumerate(chunks)]
        context = _Context(setup, os.getcwd(), mdtool.__version__, chosen_budget(), private_allowed())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for max_task_retries: by default a lost chunk is run again without end
            done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Actor, fn_constructor_args=(context,), batch_size=1, compute=actors,
                num_cpus=self.share.cpus, num_gpus=self.share.gpus, max_task_retries=0,
            )  # fmt: skip
        try:
            for batch in _polled(done.iter_batches(batch_size=None, batch_format="numpy")):
                yield from batch["result"] if batch else (None,)
        finally:
            _stop(done)


def _stop(dataset: Any) -> None:
    """End the threads of a dataset that is left before its end: Ray crashes if they ask it for more after its shutdown.

    A dataset does so itself when it is collected, for which its iterator in our thread would have to end first.
    """
    executor = getattr(dataset, "_current_executor", None)
    if executor is not None:
        executor.shutdown(force=True)


@dataclass(frozen=True)
class _Context:
    """Where a run was started.

    Attributes:
        folder: The working folder, which relative names start from.
        version: The version of mdtool.
        memory: Value of --memory in bytes; None for the default.
        private: Value of --allow-private.
    """

    setup: Setup
    folder: str
    version: str
    memory: int | None
    private: bool


class _Actor:
    """Runs chunks in a process of its own; `ray.data.Dataset.map_batches` calls it."""

    def __init__(self, context: _Context) -> None:
        try:
            if mdtool.__version__ != context.version:
                raise MdtoolError(f"mdtool is {mdtool.__version__}, not {context.version}; install the same everywhere")
            with suppress(OSError):  # there may be no such folder here, and absolute names don't need it
                os.chdir(context.folder)
            choose_budget(context.memory)
            allow_private(context.private)
            self._run = context.setup.start()
        except Exception as error:  # raised, Ray would start the actor again and again
            unusable = _Unusable(f"on {os.uname().nodename}: {error_message(error)}")
            self._run = lambda items: unusable

    def __call__(self, batch: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes]]:
        return {"result": [self._result(*pickle.loads(chunk)) for chunk in batch["chunk"]]}

    def _result(self, index: int, items: Sequence[Any]) -> bytes:
        try:
            result = self._run(items)
        except Exception as error:  # of the model, whatever the item
            result = _Unusable(error_message(error))
        return pickle.dumps((index, result))


def _polled(batches: Iterable[Any]) -> Iterator[Any]:
    """Iterate in a thread, and yield None several times a second while nothing comes."""
    ready: SimpleQueue[Any] = SimpleQueue()

    def run() -> None:
        try:
            for batch in batches:
                ready.put(batch)
            ready.put(StopIteration())
        except BaseException as error:
            ready.put(error)

    threading.Thread(target=run, name="ray", daemon=True).start()
    while True:
        try:
            batch = ready.get(timeout=POLL_SECONDS)
        except Empty:
            raise_if_interrupted()
            yield None
            continue
        if isinstance(batch, StopIteration):
            return
        if isinstance(batch, BaseException):
            raise _RayFault(f"{type(batch).__name__}: {str(batch).strip().partition(chr(10))[0]}") from batch
        yield batch
