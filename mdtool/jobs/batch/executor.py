"""How a coordinator and its workers are joined."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Protocol

from engine.generation.verbs import VisionModel
from mdtool.jobs.batch.messages import BatchTask, Result, WorkItem
from mdtool.jobs.batch.worker import Worker
from mdtool.jobs.inference.read_ahead import READERS, read_ahead
from mdtool.jobs.inference.requests import ImageEncoder
from mdtool.pipeline.stages import Idle


class Executor(Protocol):
    """What passes is plain data, so that workers may be in other processes and on other machines."""

    def run(self, task: BatchTask, items: Iterator[WorkItem | Idle]) -> Generator[Result]:
        """Have workers do the task with every item.

        Each item has one result that ends it, after its others. What comes of several items may be mixed, but for what
        was found in all frames of a video (`FrameResult`), between which nothing else comes up to the video's end.

        Args:
            items: drawn in one thread, not that of the caller; an Idle stands for there being none yet. They may come
                to an end only after results were taken.

        Yields:
            Results as they come, and while none comes `InputWait`, several times a second.

        Raises:
            EngineError: no worker can go on.
        """


class ThreadExecutor:
    """One worker, here: threads read ahead of its model, which computes in the thread that takes the results."""

    def __init__(self, model: VisionModel, encode: ImageEncoder | None = None) -> None:
        """encode: in place of the model's own."""
        self._model, self._encode = model, encode

    def run(self, task: BatchTask, items: Iterator[WorkItem | Idle]) -> Generator[Result]:
        worker = Worker(self._model, task, self._encode)
        depth = max(READERS, self._model.image_batch_size)
        with closing(
            read_ahead(items, worker.read, depth, timeout=task.timeout, poll_timeout=worker.poll_timeout)
        ) as inputs:
            yield from worker.results(inputs)
