"""Connects a coordinator to its workers."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Protocol

from engine.generation.verbs import VisionModel
from mdtool.jobs.batch.messages import BatchTask, Result, WorkItem
from mdtool.jobs.batch.worker import Worker
from mdtool.jobs.crash_journal import CrashJournal
from mdtool.jobs.inference.read_ahead import READERS, read_ahead
from mdtool.jobs.inference.requests import ImageEncoder
from mdtool.pipeline.stages import Idle


class Executor(Protocol):
    """Runs a task on workers. Messages are plain data, so workers may be other processes or machines."""

    def run(self, task: BatchTask, items: Iterator[WorkItem | Idle]) -> Generator[Result]:
        """Run the task on every item.

        The last result of an item is an `Ending`. Results of several items may interleave, except for `FrameResult`:
        from the first one of a video to its ending there are no results of other items.

        Args:
            task: The requests, and what to write.
            items: Iterated in one thread, not the caller's; an Idle means that no item is ready yet. They may end
                only after the caller has processed results.

        Yields:
            Results as they are ready; `InputWait` several times a second while there are none.

        Raises:
            EngineError: No worker can continue.
        """


class ThreadExecutor:
    """Runs one worker in this process: threads read ahead, and the model runs in the thread that takes results."""

    def __init__(
        self, model: VisionModel, encode: ImageEncoder | None = None, *, journal: CrashJournal | None = None
    ) -> None:
        """Create an executor.

        Args:
            model: The model that runs the requests.
            encode: Image encoder in place of the model's own, such as one with an embedding cache.
            journal: Where to note which input is read.
        """
        self._model, self._encode, self._journal = model, encode, journal

    def run(self, task: BatchTask, items: Iterator[WorkItem | Idle]) -> Generator[Result]:
        """Run the task on every item; see `Executor.run`."""
        worker = Worker(self._model, task, self._encode, journal=self._journal)
        depth = max(READERS, self._model.image_batch_size)
        with closing(
            read_ahead(items, worker.read, depth, timeout=task.timeout, poll_timeout=worker.poll_timeout)
        ) as inputs:
            yield from worker.results(inputs)
