"""The engine loop: requests of several coroutines on one thread of models."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import engine
from engine.contract import CaptionRequest, DetectRequest, EncodedImage, LoadOptions, Request
from mdtool.model_selection import ComputeConfig
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.preparation import Submission
from mdtool.server.refusals import UnknownModel
from mdtool.server.served_models import ServedModel, ServedModels

POCKET = {"pocket": ServedModel("pocket", ComputeConfig("cpu"))}


@contextmanager
def started(models: ServedModels | None = None, **options: Any) -> Iterator[EngineLoop]:
    loop = EngineLoop(models or ServedModels(POCKET), **options)
    loop.start()
    try:
        yield loop
    finally:
        loop.close()


def picture(seed: int = 0, side: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def caption(encoded: Sequence[EncodedImage]) -> Request:
    return CaptionRequest(encoded[0])


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(_awaited(work), 60))


async def _awaited(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


def test_results_are_those_of_the_engine() -> None:
    model = engine.load("pocket", LoadOptions("cpu"))
    pictures = [picture(seed) for seed in range(3)]
    encoded = model.encode(pictures)
    expected = model.results(
        [CaptionRequest(one) for one in encoded] + [DetectRequest(one, "red circle") for one in encoded]
    )

    with started() as loop:

        async def work() -> list[Any]:
            def detect(encoded: Sequence[EncodedImage]) -> Request:
                return DetectRequest(encoded[0], "red circle")

            submissions = [Submission("pocket", (one,), make) for make in (caption, detect) for one in pictures]
            return await asyncio.gather(*(loop.submit(submission).result() for submission in submissions))

        results = run(work)
    assert results == expected


def test_an_unknown_model_is_refused() -> None:
    with started() as loop:

        async def work() -> None:
            loop.submit(Submission("other", (), caption))

        with pytest.raises(UnknownModel, match="no model 'other' is served here: there is pocket"):
            run(work)
