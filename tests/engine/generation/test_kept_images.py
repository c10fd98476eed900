"""Images that are found again by their content."""

from typing import Any

import numpy as np
import pytest
from golden_qwen import FOLDER, image

import engine
from engine.contract import EncodedImage, Generation, ImageBudget, LoadOptions
from engine.generation.vision_language_model import VisionLanguageModel

GREEDY = Generation(temperature=0.0, max_tokens=6)


def model(kept: int) -> VisionLanguageModel:
    loaded = engine.load(str(FOLDER), LoadOptions("cpu", "float32", kept_image_bytes=kept))
    assert isinstance(loaded, VisionLanguageModel)
    return loaded


def encoded(loaded: VisionLanguageModel, name: str, **budget: Any) -> EncodedImage:
    return loaded.encode([image(name).copy()], ImageBudget(**budget))[0]


def ask(loaded: VisionLanguageModel, name: str, question: str = "what?") -> str:
    return loaded.query([encoded(loaded, name)], question, generation=GREEDY)[0].text


def test_a_second_question_starts_at_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, plain = model(1 << 24), model(0)
    images = loaded.images
    assert images
    computed: list[str] = []

    def counted(name: str, function: Any) -> Any:
        def count(*given: Any) -> Any:
            computed.append(name)
            return function(*given)

        return count

    monkeypatch.setattr(loaded.decoder, "prefill_in_steps", counted("prefix", loaded.decoder.prefill_in_steps))
    monkeypatch.setattr(images, "encode", counted("image", images.encode))
    for question in ("what?", "who?", "what?"):
        assert ask(loaded, "a", question) == ask(plain, "a", question)
    assert computed == ["image", "prefix"]


def test_another_budget_or_shape_is_another_image() -> None:
    loaded = model(1 << 24)
    assert encoded(loaded, "a") is encoded(loaded, "a")
    assert encoded(loaded, "a") is not encoded(loaded, "a", max_tokens=5)
    assert encoded(loaded, "a") is not encoded(loaded, "b")
    flat, tall = np.zeros((10, 40, 3), np.uint8), np.zeros((40, 10, 3), np.uint8)
    first, second = loaded.encode([flat, tall])
    assert first is not second


def test_memory_is_bounded_and_the_oldest_image_goes_first() -> None:
    loaded = model(400_000)
    kept = loaded._kept_images
    assert kept
    for name in ("a", "b", "a", "c"):
        ask(loaded, name)
        assert kept.nbytes <= kept.limit_bytes or len(kept._images) == 1
    c = encoded(loaded, "c")
    assert encoded(loaded, "c") is c
    ask(loaded, "b")
    assert encoded(loaded, "c") is c or len(kept._images) < 3


def test_nothing_is_kept_unless_that_is_wanted() -> None:
    loaded = model(0)
    assert encoded(loaded, "a") is not encoded(loaded, "a")
