"""Runs a batch on the actors of a Ray cluster, in each of which the scheduler forms batches of its own."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice

from engine.generation.verbs import VisionModel
from mdtool.cluster.pool import Lost, Pool
from mdtool.errors import MdtoolError
from mdtool.jobs.batch.executor import ThreadExecutor
from mdtool.jobs.batch.messages import BatchTask, DeadlineReached, InputWait, ItemFailed, Redone, Result, WorkItem
from mdtool.jobs.inference.model_source import ModelSource
from mdtool.media.file_types import VIDEO_SUFFIXES
from mdtool.pipeline.stages import Idle, prefetch_with_idle

WINDOW = 1 << 16  # items of one dataset: this process holds no more
MAX_CHUNK = 32
CHUNKS_EACH = 8  # at least for each actor, so that they end at about the same time


@dataclass(frozen=True)
class BatchSetup:
    """What an actor needs for a batch.

    Attributes:
        model: Name and revision of the model where the run was started.
    """

    source: ModelSource
    task: BatchTask
    model: tuple[str, str]

    def start(self) -> Callable[[Sequence[WorkItem]], list[Result]]:
        """Load the model, and return what runs the task on items. Raises MdtoolError for another model."""
        model = self.source.load()
        check_same(model, self.model)
        executor = ThreadExecutor(model)

        def run(items: Sequence[WorkItem]) -> list[Result]:
            late: list[Result] = []
            results = list(executor.run(self.task, self._due(items, late)))
            waits = sum(result.seconds for result in results if isinstance(result, InputWait))
            return [InputWait(waits), *(one for one in results if not isinstance(one, InputWait)), *late]

        return run

    def _due(self, items: Sequence[WorkItem], late: list[Result]) -> Iterator[WorkItem]:
        for item in items:
            if self.task.deadline is not None and time.time() > self.task.deadline:
                late.append(DeadlineReached(item.number, 0))
            else:
                yield item


def check_same(model: VisionModel, expected: tuple[str, str]) -> None:
    """Raise MdtoolError if a model is not that of this name and revision."""
    if (model.name, model.revision) != expected:
        found, wanted = (" ".join(names).strip() for names in ((model.name, model.revision), expected))
        raise MdtoolError(f"the model is {found}, not {wanted}; have the same one everywhere")


class RayExecutor:
    """An executor (`mdtool.jobs.batch.executor.Executor`) on a pool of actors."""

    def __init__(self, pool: Pool, source: ModelSource, model: tuple[str, str]) -> None:
        """Create an executor.

        Args:
            pool: The actors.
            source: The model that each of them loads.
            model: Its name and revision.
        """
        self._pool, self._source, self._model = pool, source, model

    def run(self, task: BatchTask, items: Iterator[WorkItem | Idle]) -> Generator[Result]:
        """Run the task on every item; see `Executor.run`."""
        with closing(prefetch_with_idle(items, 1)) as listed:
            window: list[WorkItem] = []
            for item in listed:
                if isinstance(item, Idle):
                    yield InputWait(0.0)
                    continue
                window.append(item)
                if len(window) == WINDOW:
                    yield from self._run(task, window)
                    window = []
            yield from self._run(task, window)

    def _run(self, task: BatchTask, window: Sequence[WorkItem]) -> Iterator[Result]:
        size = min(MAX_CHUNK, max(1, len(window) // (CHUNKS_EACH * self._pool.share.actors)))
        chunks = list(_chunks(window, size))
        for done in self._pool.run(BatchSetup(self._source, task, self._model), chunks):
            match done:
                case None:
                    yield InputWait(0.0)
                case Redone():
                    yield done
                case Lost(items=lost, tries=tries):
                    for item in lost:
                        yield ItemFailed(item.number, "lost", f"its process ended without a result; tries: {tries}")
                case _:
                    yield from done


def _chunks(items: Iterable[WorkItem], size: int) -> Iterator[list[WorkItem]]:
    """Yield chunks of up to `size` items; a video is one by itself."""
    for is_video, group in groupby(items, _is_video):
        while chunk := list(islice(group, 1 if is_video else size)):
            yield chunk


def _is_video(item: WorkItem) -> bool:
    source = item.source
    return source.address is not None or source.relative.suffix.lower() in VIDEO_SUFFIXES
