"""LFM2-VL as a model: conversations of the reference, skills, images of any size in batches, quantised weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_lfm2vl import CASES, GOLDEN, config, image
from safetensors.torch import load_file

import engine
from engine.catalog.locate import locate
from engine.checkpoints.conversion import write_quantized
from engine.checkpoints.random_weights import RandomWeights
from engine.contract import (
    CaptionRequest,
    ChatRequest,
    DetectRequest,
    Done,
    EngineError,
    Generation,
    ImageBudget,
    LoadOptions,
    Message,
    QueryRequest,
    Request,
)
from engine.generation.tokenizer import load_tokenizer
from engine.generation.verbs import VisionModel
from engine.generation.vision_language_model import VisionLanguageModel
from engine.lfm2vl.config import Config
from engine.lfm2vl.model import FAMILY
from engine.lfm2vl.weights import open_weights, shapes

GREEDY = Generation(temperature=0, min_p=0, repetition_penalty=1, max_tokens=16)
END = 7


def model(own: Config | None = None, **options: Any) -> VisionLanguageModel:
    tokenizer = load_tokenizer(GOLDEN / "tokenizer.json", 447)
    weights = open_weights(GOLDEN / "model.safetensors", config())
    return FAMILY.build("tiny", own or config(), weights, tokenizer, options=LoadOptions("cpu", "float32", **options))


MODEL = model()


def conversation(case: str, loaded: VisionModel = MODEL) -> list[Message]:
    def parts(turn: Sequence[tuple[str, str]]) -> tuple[Any, ...]:
        return tuple(text if kind == "text" else loaded.encode([image(text)])[0] for kind, text in turn)

    return [Message(role, parts(turn)) for role, turn in CASES[case]["turns"]]


def until_end(ids: list[int]) -> tuple[int, ...]:
    return tuple(ids[: ids.index(END)] if END in ids else ids)


def results(loaded: VisionLanguageModel, requests: Sequence[Request], batch: int | None = None) -> list[Any]:
    done = {event.index: event.result for event in loaded.run(requests, batch) if isinstance(event, Done)}
    return [done[index] for index in range(len(requests))]


@pytest.mark.parametrize("case", CASES)
def test_a_conversation_gives_the_tokens_of_the_reference(case: str) -> None:
    answer = MODEL.chat(conversation(case), GREEDY)
    assert answer.prompt_tokens == CASES[case]["n_tokens"]
    assert answer.tokens == until_end(CASES[case]["greedy_ids"])


def test_the_folder_is_loaded_with_the_settings_of_its_images() -> None:
    loaded = engine.load(str(GOLDEN), LoadOptions("cpu", "float32"))
    answer = loaded.chat(conversation("two_images", loaded), GREEDY)
    assert answer.tokens == until_end(CASES["two_images"]["greedy_ids"])


def test_it_captions_answers_and_chats_and_detects_only_if_it_was_trained_to() -> None:
    assert set(MODEL.abilities.prompts) == {"caption", "query", "chat"}
    [encoded] = MODEL.encode([image("a")])
    with pytest.raises(EngineError, match="tiny can't detect"):
        MODEL.detect([encoded], "face")
    with pytest.raises(EngineError, match="tiny can't point"):
        MODEL.point([encoded], "face")
    newer = model(replace(config(), detects=True))
    assert set(newer.abilities.prompts) == {"caption", "query", "chat", "detect"}
    newer.check(DetectRequest(None, "face"))


def test_the_sampling_parameters_are_those_of_the_model_card() -> None:
    defaults = MODEL.style.defaults
    assert (defaults.temperature, defaults.min_p, defaults.repetition_penalty) == (0.1, 0.15, 1.05)
    [encoded] = MODEL.encode([image("a")])
    by_default, explicit = Generation(max_tokens=12), Generation(0.1, 1.0, 12, min_p=0.15, repetition_penalty=1.05)
    [first], [second] = (MODEL.query([encoded], "what?", generation=own) for own in (by_default, explicit))
    assert first == second


def pictures() -> list[np.ndarray]:
    noise = np.random.default_rng(0)
    drawn = [noise.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 300), (200, 130), (97, 64))]
    return [image("a"), image("b"), image("c"), *drawn]


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_of_any_size_have_the_same_bits_in_a_batch_as_alone(quantize: str | None, dtype: torch.dtype) -> None:
    """With weights wide enough for groups of 32 and for kernels that split their sums."""
    text = replace(config().text_config, hidden_size=128, block_ff_dim=192, num_attention_heads=4)
    own = replace(config(), text_config=text, projector_hidden_size=96,
                  vision_config=replace(config().vision_config, hidden_size=64, intermediate_size=96))  # fmt: skip
    options = LoadOptions("cpu", str(dtype).removeprefix("torch."), quantize)
    tokenizer = load_tokenizer(GOLDEN / "tokenizer.json", 447)
    loaded = FAMILY.build("wide", own, RandomWeights(shapes(own), 1), tokenizer, options=options)
    short = replace(GREEDY, max_tokens=6)
    requests: list[Request] = [QueryRequest(one, "what?", generation=short) for one in loaded.encode(pictures())]
    requests += [CaptionRequest(one, "short", replace(short, temperature=None)) for one in loaded.encode(pictures())]
    requests.append(ChatRequest(tuple(conversation("multi_turn", loaded)), short))
    together, alone = results(loaded, requests, 16), results(loaded, requests, 1)
    assert together == alone
    assert len({answer.tokens for answer in together}) > 3


def test_one_image_serves_many_prompts() -> None:
    [encoded] = MODEL.encode([image("c")])
    questions = ["what?", "and the fox?", "what?"]
    shared = [MODEL.query([encoded], question, generation=GREEDY)[0] for question in questions]
    fresh = [MODEL.query(MODEL.encode([image("c")]), question, generation=GREEDY)[0] for question in questions]
    assert shared == fresh
    assert shared[0] == shared[2] != shared[1]


def test_a_budget_bounds_an_image_with_its_tiles_per_call_and_by_default() -> None:
    text = MODEL.query([None], "what?", generation=GREEDY)[0]
    assert text.image_tokens == 0

    def spent(loaded: VisionLanguageModel, marks: int, **budget: Any) -> int:
        encoded = loaded.encode([image("c")], ImageBudget(**budget))
        [answer] = loaded.query(encoded, "what?", generation=GREEDY)
        assert answer.prompt_tokens == text.prompt_tokens + answer.image_tokens + 2 + marks  # 2: start and end
        return answer.image_tokens

    assert spent(MODEL, 3) == 2 * 4 + 8
    assert spent(MODEL, 3, max_tokens=15) == 2 * 4 + 3  # seven are left for the thumbnail
    assert spent(MODEL, 0, tiles=False) == 8
    assert spent(MODEL, 2, thumbnail=False) == 2 * 4
    assert spent(model(image_budget=ImageBudget(max_tokens=6)), 0) == 3


def test_details_are_budgets() -> None:
    def budget(detail: str | int) -> ImageBudget:
        return model(detail=detail).default_budget

    own = config().preprocessor_config
    assert budget("auto") == ImageBudget(own.min_image_tokens, config().max_tokens, True, own.max_tiles, True)
    assert budget("low").max_tokens == 256
    assert budget("high").min_tokens == 1024
    assert (budget(6).min_tokens, budget(6).max_tokens) == (4, 6)


def test_quantised_weights_change_logits_a_little() -> None:
    stored = load_file(GOLDEN / "model.safetensors")
    largest = max(tensor.abs().max() for tensor in stored.values())
    pieces = MODEL.decoder.text.embed(range(20, 40))
    exact, coarse = (
        loaded.text.logits(loaded.decoder.text.embed(range(20, 40))) for loaded in (MODEL, model(quantize="int8"))
    )
    assert pieces.shape == (20, 64)
    assert 0 < (exact - coarse).abs().max() < 0.1 * largest * exact.abs().max()


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_a_checkpoint_can_be_quantised_once_and_for_all(tmp_path: Path, scheme: str) -> None:
    write_quantized(FAMILY.quantizable_model(locate(str(GOLDEN))), scheme, tmp_path, lambda part: None)
    stored, at_load = engine.load(str(tmp_path), LoadOptions("cpu", "float32")), model(quantize=scheme)
    answers = [one.chat(conversation("two_images", one), GREEDY) for one in (stored, at_load)]
    assert answers[0].tokens == answers[1].tokens
