"""Long work in pieces: the same bits as in one, whatever runs in between."""

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from golden import FAMILIES, GOLDEN, image, model
from golden_qwen import image as qwen_image
from golden_qwen import model as qwen

import engine
from engine.contract import (
    CaptionRequest,
    ChatCache,
    ChatRequest,
    Done,
    EncodedImage,
    Event,
    Generation,
    LoadOptions,
    Message,
    QueryRequest,
    Scheduler,
    StepwiseEncoder,
    StepwiseStarter,
)
from engine.generation.vision_language_model import VisionLanguageModel
from engine.layers.kv_cache import KeyValueCache, PrefixCache
from engine.moondream.model import EncodedPrefix
from engine.stepwise import Stepwise, finished


@cache
def lfm2vl() -> VisionLanguageModel:
    loaded = engine.load(str(GOLDEN / "lfm2-vl"), LoadOptions("cpu", "float32"))
    assert isinstance(loaded, VisionLanguageModel)
    return loaded


GREEDY = Generation(temperature=0.0, max_tokens=6)


def keys_and_values(prefix: PrefixCache) -> list[torch.Tensor]:
    caches = [layer for layer in prefix.layers if isinstance(layer, KeyValueCache)]
    return [tensor for cache in caches for part in cache.shared for tensor in (part.keys, part.values)]


def results(scheduler: Scheduler) -> list[object]:
    events: list[Event] = []
    while not scheduler.idle:
        events += scheduler.step()
    return [event.result for event in sorted(events, key=lambda event: event.index) if isinstance(event, Done)]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_encoded_between_the_steps_of_others(family: str) -> None:
    own, pixels = model(family), image("img_b")
    assert isinstance(own, StepwiseEncoder)
    [whole] = own.encode([pixels])
    running = own.scheduler()
    running.add(CaptionRequest(whole, "normal", Generation(temperature=0.0, max_tokens=40)))
    work, pieces = own.encode_in_steps(pixels), 0
    while True:
        try:
            next(work)
        except StopIteration as end:
            encoded: EncodedPrefix = end.value
            break
        pieces += 1
        running.step()
    vision, text = own.config.vision, own.config.text
    assert pieces >= 2 * vision.enc_n_layers + text.n_layers - 1
    pairs = zip(keys_and_values(encoded.prefix), keys_and_values(whole.prefix), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def conversation(seen: Sequence[EncodedImage]) -> ChatRequest:
    turns = (Message("user", (seen[0], "what?")), Message("assistant", ("a",)), Message("user", (*seen[1:], "and?")))
    return ChatRequest(turns, GREEDY)


@pytest.mark.parametrize("own", [qwen, lfm2vl])
def test_requests_prepared_by_turns_are_those_of_the_scheduler(own: Callable[[], VisionLanguageModel]) -> None:
    loaded = own()
    assert isinstance(loaded, StepwiseStarter)

    def requests() -> list[QueryRequest | ChatRequest]:
        seen = loaded.encode([qwen_image("a"), qwen_image("b"), qwen_image("a")])
        return [QueryRequest(seen[0], "what?", generation=GREEDY), conversation(seen)]

    plain, stepwise = loaded.scheduler(), loaded.scheduler()
    for request in requests():
        plain.add(request)
    under_way: list[Stepwise[object]] = [loaded.prepare_in_steps(request) for request in requests()]
    pieces = 0
    while under_way:
        work = under_way.pop(0)
        try:
            next(work)
        except StopIteration as end:
            stepwise.add(end.value)
        else:
            pieces += 1
            under_way.append(work)
    assert pieces > 10
    one, other = results(plain), results(stepwise)
    assert len(one) == 2
    assert one == (other if one[0] == other[0] else other[::-1])


def test_several_conversations_are_found_again() -> None:
    loaded = qwen()
    a, b = loaded.encode([qwen_image("a"), qwen_image("b")])
    cache = ChatCache(1 << 24)
    firsts = [(Message("user", (seen, text)),) for seen, text in ((a, "what?"), (b, "what?"), (a, "who?"))]
    answers = [loaded.chat(first, GREEDY, cache) for first in firsts]
    assert len(cache.content.conversations) == 3
    for first, answer in zip(firsts, answers, strict=True):
        longer = (*first, Message("assistant", (answer.text,)), Message("user", ("and?",)))
        prepared = finished(loaded.prepare_in_steps(ChatRequest(longer, GREEDY, cache=cache)))
        assert prepared.prefix
        assert prepared.prefix.length >= answer.prompt_tokens
        assert loaded.chat(longer, GREEDY, cache).tokens == loaded.chat(longer, GREEDY).tokens
    assert len(cache.content.conversations) == 3  # each was replaced by what continues it


def test_the_memory_of_conversations_is_bounded() -> None:
    loaded = qwen()
    size = loaded.text.transformer.position_bytes * 20
    cache = ChatCache(size)
    for number in range(20):
        loaded.chat([Message("user", (f"{number} {number}?",))], GREEDY, cache)
        kept = cache.content.conversations
        assert sum(each.cache.nbytes for each in kept) <= size or len(kept) == 1
    assert kept[-1].pieces[: len(kept[0].pieces)] != kept[0].pieces or len(kept) == 1


def test_a_conversation_with_the_same_image_starts_at_its_prefix() -> None:
    """Two conversations begin alike up to the image, which is a shorter beginning than the image's own prefix."""
    loaded = qwen()
    a, b = loaded.encode([qwen_image("a"), qwen_image("b")])
    cache = ChatCache(1 << 24)
    loaded.chat([Message("user", (a, "what?"))], GREEDY, cache)
    loaded.chat([Message("user", (b, "what?"))], GREEDY)
    prepared = finished(loaded.prepare_in_steps(ChatRequest((Message("user", (b, "who?")),), GREEDY, cache=cache)))
    assert prepared.prefix is b.prefix[1]  # type: ignore[attr-defined]
