"""The engine loop: requests of several coroutines on one thread of models."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import engine
from engine.contract import (
    Abilities,
    Answer,
    Cancelled,
    CaptionRequest,
    ChatRequest,
    DetectRequest,
    Done,
    EncodedImage,
    EngineError,
    Failed,
    Generation,
    LoadOptions,
    Message,
    ModelUnavailable,
    QueryRequest,
    Request,
    Scheduler,
    TextDelta,
    UnsupportedPrompt,
)
from engine.generation.verbs import VisionModel
from engine.moondream.model import Moondream
from engine.pocket.draw import draw
from engine.pocket.scene import random_scene
from mdtool.model_selection import ComputeConfig
from mdtool.server import engine_loop
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.preparation import Submission
from mdtool.server.refusals import DeadlineExceeded, Draining, EngineStopped, QueueFull, UnknownModel
from mdtool.server.running import Running
from mdtool.server.served_models import ServedModel, ServedModels

GOLDEN = Path(__file__).parents[2] / "golden"
CPU = ComputeConfig("cpu")
POCKET = {"pocket": ServedModel("pocket", CPU)}
QWEN = {"qwen": ServedModel(str(GOLDEN / "qwen3-vl"), ComputeConfig("cpu", "float32"))}
LONG = Generation(temperature=0.0, max_tokens=700)
SHORT = Generation(temperature=0.0, max_tokens=4)
SOON = 60.0  # seconds in which anything happens


@pytest.fixture(autouse=True)
def short_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decode step follows soon, even where a gate keeps an image from being encoded."""
    monkeypatch.setattr(engine_loop, "MAX_GAP", 0.005)


class GatedModel(VisionModel):
    """Pocket, with gates: a piece of encoding and a decode step wait until theirs is open."""

    name, revision, image_batch_size, setup = "gated", "", 1, ()

    def __init__(self) -> None:
        loaded = engine.load("pocket", LoadOptions("cpu"))
        assert isinstance(loaded, Moondream)
        self.model, self.may_encode, self.may_step = loaded, Event(), Event()
        self.encoding, self.stepping = Event(), Event()
        self.broken: Exception | None = None
        self.may_encode.set()
        self.may_step.set()

    @property
    def abilities(self) -> Abilities:
        return self.model.abilities

    def encode(self, images: Sequence[np.ndarray]) -> Sequence[EncodedImage]:
        return self.model.encode(images)

    def encode_in_steps(self, image: np.ndarray, adapter: str | None = None) -> Generator[None, None, EncodedImage]:
        while not self.may_encode.is_set():
            self.encoding.set()
            time.sleep(0.001)
            yield
        return (yield from self.model.encode_in_steps(image, adapter))

    def check(self, request: Request) -> None:
        self.model.check(request)

    def scheduler(self, batch: int | None = None) -> Scheduler:
        return _GatedScheduler(self, self.model.scheduler(batch))


class _GatedScheduler:
    def __init__(self, gates: GatedModel, scheduler: Any) -> None:
        self._gates, self._scheduler = gates, scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def step(self) -> Any:
        self._gates.stepping.set()
        self._gates.may_step.wait(SOON)
        if self._gates.broken:
            raise self._gates.broken
        return self._scheduler.step()


class LoadedModels(ServedModels):
    """Models that are there already."""

    def __init__(self, models: dict[str, VisionModel], **options: Any) -> None:
        super().__init__({name: ServedModel("pocket", CPU) for name in models}, **options)
        self._given, self.loads = models, 0

    def load(self, name: str) -> VisionModel:
        self.loads += 1
        return self._given[name]


@contextmanager
def started(models: ServedModels | None = None, **options: Any) -> Iterator[EngineLoop]:
    loop = EngineLoop(models or ServedModels(POCKET), **options)
    loop.start()
    try:
        yield loop
    finally:
        loop.close()


@contextmanager
def gated(**options: Any) -> Iterator[tuple[EngineLoop, GatedModel]]:
    model = GatedModel()
    with started(LoadedModels({"gated": model}), **options) as loop:
        yield loop, model
        model.may_encode.set()
        model.may_step.set()


def picture(seed: int = 0) -> np.ndarray:
    return draw(random_scene(seed)).pixels


def caption(encoded: Sequence[EncodedImage], length: str = "normal", generation: Generation = Generation()) -> Request:
    return CaptionRequest(encoded[0], length, generation)


def detect(encoded: Sequence[EncodedImage]) -> Request:
    return DetectRequest(encoded[0], "red circle")


MakeRequest = Callable[[Sequence[EncodedImage]], Request]


def on(
    model: str, seed: int = 0, make: Callable[[Sequence[EncodedImage]], Request] = caption, **more: Any
) -> Submission:
    return Submission(model, (picture(seed),), make, **more)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work(), 3 * SOON)

    return asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


async def last_event(running: Running) -> Done | Failed:
    async for event in running:
        if not isinstance(event, TextDelta):
            return event
    raise AssertionError


async def all_done(running: Sequence[Running]) -> None:
    for each in running:
        assert isinstance(await last_event(each), Done)


def error_of(event: Done | Failed) -> Exception:
    assert isinstance(event, Failed)
    return event.error


# -- results


def test_results_are_those_of_the_engine_to_the_last_bit() -> None:
    """Whether requests run together, and images are encoded between their steps, or not."""
    model = engine.load("pocket", LoadOptions("cpu"))
    seeds = range(6)
    encoded = model.encode([picture(seed) for seed in seeds])
    expected = model.results([*(make([one]) for make in (caption, detect) for one in encoded)])

    with started() as loop:

        async def work() -> list[Any]:
            submissions = [on("pocket", seed, make) for make in (caption, detect) for seed in seeds]
            return await asyncio.gather(*(loop.submit(submission).result() for submission in submissions))

        assert run(work) == expected
        assert max(loop.counters.batch_sizes) > 1
        assert loop.image_cache[:2] == (len(seeds), len(seeds))
        assert loop.counters.done == loop.counters.submitted == 2 * len(seeds)
        answers = [each for each in expected if isinstance(each, Answer)]
        assert loop.counters.generated_tokens == sum(len(each.tokens) for each in answers)


def test_text_comes_in_pieces_and_the_stages_are_timed() -> None:
    with started() as loop:

        async def work() -> tuple[Running, list[Any]]:
            running = loop.submit(on("pocket"))
            return running, [event async for event in running]

        running, events = run(work)
    *deltas, done = events
    assert len(deltas) > 3
    assert "".join(delta.text for delta in deltas) == done.result.text
    timings = running.timings
    stages = timings.queue, timings.encode, timings.prefill, timings.decode
    assert min(stages) > 0
    assert sum(stages) == pytest.approx(timings.total)
    assert timings.queue < timings.time_to_first_token < timings.total


def test_a_new_request_joins_those_under_way() -> None:
    with gated() as (loop, model):

        async def work() -> None:
            model.may_step.clear()
            first = loop.submit(on("gated", 0))
            await until(model.stepping.is_set)
            second = loop.submit(on("gated", 1))
            model.may_step.set()
            ended = [await each for each in asyncio.as_completed([last_event(first), last_event(second)])]
            assert all(isinstance(event, Done) for event in ended)

        run(work)
        assert loop.counters.batch_sizes[2] > 3


def test_text_goes_on_while_another_image_is_encoded() -> None:
    with gated() as (loop, model):

        async def work() -> None:
            first = loop.submit(on("gated", 0))
            await until(lambda: first.timings.first_text)
            model.may_encode.clear()
            second = loop.submit(on("gated", 1))
            await until(model.encoding.is_set)
            assert isinstance(await last_event(first), Done)
            assert second.timings.encoded is None
            model.may_encode.set()
            assert isinstance(await last_event(second), Done)

        run(work)


def test_a_known_image_does_not_wait_for_that_of_another() -> None:
    with gated() as (loop, model):

        async def work() -> None:
            known = on("gated", 0)
            await loop.submit(known).result()
            model.may_encode.clear()
            new = loop.submit(on("gated", 1))
            await until(model.encoding.is_set)
            await loop.submit(known).result()
            await loop.submit(Submission("gated", (), partial(question, "what is two?"))).result()
            assert new.timings.encoded is None
            model.may_encode.set()
            await new.result()

        run(work)


def question(text: str, encoded: Sequence[EncodedImage]) -> Request:
    return QueryRequest(encoded[0] if encoded else None, text, generation=SHORT)


def test_models_side_by_side() -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    models = POCKET | QWEN | {"faces": ServedModel("centerface", CPU)}
    requests: dict[str, MakeRequest] = {"pocket": caption, "qwen": partial(question, "what?"), "faces": face}
    expected = {}
    for name, served in models.items():
        loaded = served.computing.load(served.name_or_path)
        expected[name] = loaded.results([requests[name](loaded.encode([pixels]))])

    with started(ServedModels(models)) as loop:

        async def work() -> None:
            assert not loop.models.describe("qwen").loaded
            running = {name: loop.submit(Submission(name, (pixels,), requests[name])) for name in models}
            for name, each in running.items():
                assert [await each.result()] == expected[name]
            assert loop.models.describe("qwen").loaded

        run(work)


def face(encoded: Sequence[EncodedImage]) -> Request:
    return DetectRequest(encoded[0], "face")


def test_a_chat_starts_where_its_last_turn_ended() -> None:
    """The client sends the whole conversation again, and another one is in between."""

    def chat(turns: Sequence[str], encoded: Sequence[EncodedImage]) -> Request:
        first = Message("user", (encoded[0], turns[0]))
        roles = ("assistant", "user")
        others = [Message(roles[number % 2], (text,)) for number, text in enumerate(turns[1:])]  # type: ignore[arg-type]
        return ChatRequest((first, *others), SHORT)

    with started(ServedModels(QWEN)) as loop:

        async def work() -> None:
            a, b = (np.full((64, 64, 3), value, np.uint8) for value in (10, 200))
            for pixels in (a, b):
                await loop.submit(Submission("qwen", (pixels,), partial(chat, ["what?"]))).result()
            kept = loop._loaded["qwen"].preparation.conversations.content.conversations
            assert len(kept) == 2
            longer = Submission("qwen", (a,), partial(chat, ["what?", "this", "and?"]))
            await loop.submit(longer).result()
            continued = loop._loaded["qwen"].preparation.conversations.content.conversations[-1]
            assert continued.cache.layers[0].shared[0].keys is not None
            assert continued.pieces[: kept[0].prompt] == kept[0].pieces[: kept[0].prompt]
            assert loop.image_cache[:2] == (1, 2)

        run(work)


# -- refusals and failures


def test_an_unknown_model_is_refused() -> None:
    with started() as loop:

        async def work() -> None:
            loop.submit(on("other"))

        with pytest.raises(UnknownModel, match="no model 'other' is served here: there is pocket"):
            run(work)
        assert loop.counters.refused == {"UnknownModel": 1}


def test_what_a_request_raises_is_its_own_failure() -> None:
    def impossible(encoded: Sequence[EncodedImage]) -> Request:
        raise ZeroDivisionError

    with gated() as (loop, model):

        async def work() -> None:
            model.may_encode.clear()  # none of these gets that far
            good = loop.submit(on("gated"))
            await until(model.encoding.is_set)
            model.may_encode.set()
            bad: list[Any] = [partial(caption, length="endless"), partial(question, " "), impossible]
            errors = [error_of(await last_event(loop.submit(on("gated", 0, make)))) for make in bad]
            assert [type(error) for error in errors] == [UnsupportedPrompt, ValueError, ZeroDivisionError]
            shape = Submission("gated", (np.zeros((4, 4), np.uint8),), caption)
            assert isinstance(error_of(await last_event(loop.submit(shape))), ValueError)
            assert isinstance(await last_event(good), Done)

        run(work)
        assert loop.healthy
        assert loop.counters.failed == 4


def test_a_model_that_can_not_be_loaded_fails_its_requests_and_is_tried_again(tmp_path: Path) -> None:
    models = ServedModels(POCKET | QWEN)
    models._models["qwen"] = ServedModel(str(tmp_path / "gone.safetensors"), CPU)
    with started(models) as loop:

        async def work() -> None:
            for _ in range(2):
                error = error_of(await last_event(loop.submit(on("qwen"))))
                assert isinstance(error, ModelUnavailable)
            assert isinstance(await last_event(loop.submit(on("pocket"))), Done)

        run(work)


def test_a_model_that_can_not_go_on_fails_its_requests_alone() -> None:
    with gated() as (loop, model):

        async def work() -> None:
            model.broken = EngineError("out of memory")
            assert str(error_of(await last_event(loop.submit(on("gated"))))) == "out of memory"
            model.broken = None
            assert isinstance(await last_event(loop.submit(on("gated"))), Done)

        run(work)
        assert loop.healthy


def test_an_error_of_the_loop_fails_all_requests_and_is_seen() -> None:
    with gated() as (loop, model):

        async def work() -> None:
            model.may_step.clear()
            running = [loop.submit(on("gated", seed)) for seed in range(3)]
            await until(model.stepping.is_set)
            model.broken = ZeroDivisionError("oh")
            model.may_step.set()
            for each in running:
                error = error_of(await last_event(each))
                assert isinstance(error, EngineStopped)
                assert str(error) == "the engine stopped: ZeroDivisionError: oh"
            with pytest.raises(EngineStopped):
                loop.submit(on("gated"))

        run(work)
        assert not loop.healthy


def test_a_full_queue_refuses() -> None:
    with gated(queue_size=2, batch=1) as (loop, model):

        async def work() -> None:
            model.may_step.clear()
            running = [loop.submit(on("gated", 0))]
            await until(model.stepping.is_set)
            running += [loop.submit(on("gated", seed)) for seed in (1, 2)]
            assert [each.position for each in running] == [0, 1, 2]
            assert (loop.running, loop.waiting) == (1, 2)
            with pytest.raises(QueueFull) as refused:
                loop.submit(on("gated", 3))
            assert 1 <= refused.value.retry_after <= 60
            model.may_step.set()
            await all_done(running)
            assert isinstance(await last_event(loop.submit(on("gated", 3))), Done)

        run(work)


def test_a_late_request_ends_wherever_it_is() -> None:
    with gated(batch=1) as (loop, model):

        async def work() -> None:
            model.may_encode.clear()
            in_encode, in_queue = (loop.submit(on("gated", seed, deadline=time.monotonic() + 0.2)) for seed in (0, 1))
            assert isinstance(error_of(await last_event(in_encode)), DeadlineExceeded)
            assert isinstance(error_of(await last_event(in_queue)), DeadlineExceeded)
            model.may_encode.set()
            make = partial(caption, generation=LONG)
            decoding = loop.submit(on("gated", 2, make))
            await until(lambda: decoding.timings.first_text)
            decoding.cancel()
            assert isinstance(await last_event(loop.submit(on("gated", 3))), Done)

        run(work)
        assert loop.counters.late == 2


# -- cancellation: in the queue, in encoding, in decoding


@pytest.mark.parametrize("stage", ["queue", "encoding", "decoding"])
@pytest.mark.parametrize("how", ["call", "task", "iteration", "forgotten"])
def test_a_cancelled_request_frees_its_place(stage: str, how: str) -> None:
    with gated(batch=1) as (loop, model):

        async def work() -> None:
            (model.may_step if stage == "decoding" else model.may_encode).clear()
            before = [loop.submit(on("gated", 0))] if stage == "queue" else []
            running: Running | None = loop.submit(on("gated", 1, partial(caption, generation=LONG)))
            assert running
            reached = {"queue": lambda: loop.waiting == 1, "encoding": model.encoding.is_set}
            await until(reached.get(stage, model.stepping.is_set))
            if how == "call":
                running.cancel()
            elif how == "forgotten":
                running = None
            else:
                waits = last_event(running) if how == "iteration" else running.result()
                task = asyncio.create_task(waits)
                await asyncio.sleep(0.01)
                task.cancel()
                del waits, task
            model.may_step.set()
            await until(lambda: loop.counters.cancelled)
            assert loop.running + loop.waiting == len(before)
            if how == "call" and running:
                assert isinstance(error_of(await last_event(running)), Cancelled)
            model.may_encode.set()
            for each in before:
                assert isinstance(await last_event(each), Done)
            assert isinstance(await last_event(loop.submit(on("gated", 2))), Done)

        run(work)
        assert loop.counters.cancelled == 1


def test_requests_of_an_event_loop_that_ended_are_cancelled() -> None:
    with gated() as (loop, model):
        kept: list[Running] = []

        async def leave() -> None:
            model.may_step.clear()
            kept.append(loop.submit(on("gated", 0, partial(caption, generation=LONG))))
            await until(model.stepping.is_set)

        run(leave)
        model.may_step.set()

        async def work() -> None:
            await until(lambda: loop.counters.cancelled)
            assert isinstance(await last_event(loop.submit(on("gated", 1))), Done)

        run(work)


# -- memory


def test_the_memory_of_encoded_images_is_bounded() -> None:
    [one] = engine.load("pocket", LoadOptions("cpu")).encode([picture(0)])
    limit = 3 * one.nbytes + 1
    with started(kept_image_bytes=limit) as loop:

        async def work() -> None:
            for seed in (0, 1, 2, 3, 1, 0):
                await loop.submit(on("pocket", seed)).result()
                assert 0 < loop.image_cache[2] <= limit
            assert loop.image_cache[:2] == (1, 5)

        run(work)


def test_no_image_is_kept_where_none_may() -> None:
    with started(kept_image_bytes=0) as loop:

        async def work() -> None:
            for _ in range(2):
                await loop.submit(on("pocket")).result()
            assert loop.image_cache == (0, 2, 0)

        run(work)


def test_an_idle_model_is_unloaded_with_its_images() -> None:
    models = LoadedModels({"gated": GatedModel()}, idle_unload=0.2)
    with started(models) as loop:

        async def work() -> None:
            for loads in (1, 2):
                assert isinstance(await last_event(loop.submit(on("gated"))), Done)
                assert models.loads == loads
                assert models.describe("gated").loaded
                await until(lambda: not models.describe("gated").loaded and loop.image_cache[2] == 0)

        run(work)


# -- the end


def test_draining_finishes_what_was_accepted() -> None:
    with gated(batch=1) as (loop, model):

        async def work() -> None:
            model.may_step.clear()
            running = [loop.submit(on("gated", seed)) for seed in range(3)]
            await until(model.stepping.is_set)
            assert not await asyncio.to_thread(loop.drain, 0.05)
            assert loop.draining
            with pytest.raises(Draining):
                loop.submit(on("gated"))
            model.may_step.set()
            assert await asyncio.to_thread(loop.drain, SOON)
            await all_done(running)

        run(work)


def test_a_model_comes_while_another_thread_imports_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of faces, which does without it: the module has nothing in it yet."""
    with gated() as (loop, model):

        async def work() -> None:
            model.may_encode.clear()
            with monkeypatch.context() as patched:
                patched.setitem(sys.modules, "torch", ModuleType("torch"))
                running = loop.submit(on("gated"))
                await until(lambda: loop.models.loaded or loop.failure)
            model.may_encode.set()
            assert isinstance(await last_event(running), Done)

        run(work)


def test_closing_ends_what_runs() -> None:
    with gated(batch=1) as (loop, model):

        async def work() -> None:
            model.may_step.clear()
            running = [loop.submit(on("gated", seed, partial(caption, generation=LONG))) for seed in range(3)]
            await until(model.stepping.is_set)
            closing = asyncio.create_task(asyncio.to_thread(loop.close))
            await until(lambda: loop.draining)
            model.may_step.set()
            await closing
            for each in running:
                assert isinstance(error_of(await last_event(each)), EngineStopped)

        run(work)


# -- descriptions


def test_models_are_described_without_being_loaded() -> None:
    models = ServedModels(POCKET | QWEN)
    pocket, qwen = models.describe("pocket"), models.describe("qwen")
    assert "detect" in pocket.abilities.prompts
    assert pocket.summary
    assert "chat" in qwen.abilities.prompts
    assert qwen.family == "qwen3vl"
    assert qwen.context
    assert qwen.bytes == (GOLDEN / "qwen3-vl" / "model.safetensors").stat().st_size
    assert not qwen.loaded
    assert models.names == ("pocket", "qwen")
