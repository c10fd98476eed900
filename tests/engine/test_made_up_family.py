"""A family of under 150 lines has every skill, in batches, with budgets, quantised, and on the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import made_up_family as made_up
import numpy as np
import pytest
import torch
from golden_lfm2vl import GOLDEN
from safetensors.torch import save_file

import engine
from engine import families
from engine.catalog.locate import locate
from engine.checkpoints.conversion import write_quantized
from engine.checkpoints.random_weights import RandomWeights
from engine.contract import (
    CaptionRequest,
    ChatRequest,
    DetectRequest,
    Done,
    EngineError,
    Failed,
    Generation,
    ImageBudget,
    LoadOptions,
    Message,
    ModelUnavailable,
    QueryRequest,
    Request,
)

CONFIG = {"model_type": "made_up", "hidden_size": 64, "layers": 2, "heads": 2, "vocab_size": 447, "image_token_id": 14}
PICTURES = [np.random.default_rng(n).integers(0, 256, (20 + 30 * n, 90 - 20 * n, 3), np.uint8) for n in range(4)]
CPU = LoadOptions("cpu", "float32")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = families.Family(
        load="made_up_family:FAMILY.load",
        abilities="made_up_family:abilities",
        checkpoint_matcher="made_up_family:MATCHER",
        quantizable="made_up_family:FAMILY.quantizable_model",
    )
    monkeypatch.setitem(families.FAMILIES, "made_up", entry)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights = RandomWeights(made_up.shapes(made_up.read_config("it", CONFIG)), 2)
    save_file({name: weights.tensor(name, torch.float32) for name in weights.shapes}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    shutil.copy(GOLDEN / "tokenizer.json", tmp_path)
    return tmp_path


def requests(model: Any) -> list[Request]:
    encoded = model.encode(PICTURES)
    asked: list[Request] = [QueryRequest(one, "what?") for one in encoded]
    asked += [CaptionRequest(one, "short", Generation(temperature=0.7, seed=5)) for one in encoded]
    asked.append(QueryRequest(None, "no image?"))
    turns = (
        Message("user", (encoded[0], "and", encoded[3], "?")),
        Message("assistant", ("yes",)),
        Message("user", ("?",)),
    )
    return [*asked, ChatRequest(turns)]


def test_it_is_as_small_as_promised() -> None:
    source = Path(made_up.__file__).read_text()
    assert len(source.splitlines()) < 150


def test_a_batch_gives_each_request_the_bits_that_it_gets_alone(folder: Path) -> None:
    model = engine.load(str(folder), CPU)
    assert set(model.abilities.prompts) == {"caption", "query", "chat", "detect"}
    asked = requests(model)
    answers: list[dict[int, Any]] = [
        {event.index: event.result for event in model.run(asked, batch) if isinstance(event, Done)} for batch in (1, 16)
    ]
    assert len(answers[0]) == len(asked)
    assert answers[0] == answers[1]
    assert [answers[0][n].image_tokens for n in (0, 8, 9)] == [16, 0, 32]


def test_each_image_has_its_budget(folder: Path) -> None:
    model: Any = engine.load(str(folder), LoadOptions("cpu", image_budget=ImageBudget(max_tokens=4)))
    [small], [large] = (
        model.query(model.encode(PICTURES[:1], budget), "?") for budget in (ImageBudget(), ImageBudget(1, 9))
    )
    assert (small.image_tokens, large.image_tokens) == (4, 9)
    with pytest.raises(EngineError, match="doesn't split images into tiles"):
        model.encode(PICTURES, ImageBudget(max_tiles=2))


def test_text_that_is_no_list_of_boxes_is_an_error_of_its_request(folder: Path) -> None:
    model = engine.load(str(folder), CPU)
    [event] = model.run([DetectRequest(model.encode(PICTURES[:1])[0], "face")])
    assert isinstance(event, Failed)
    assert "list of objects" in str(event.error)


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_it_is_quantised_as_it_is_loaded_and_once_and_for_all(folder: Path, tmp_path_factory: Any, scheme: str) -> None:
    small = tmp_path_factory.mktemp(scheme)
    write_quantized(families.quantizable_model(locate(str(folder))), scheme, small, lambda part: None)
    models = engine.load(str(small), CPU), engine.load(str(folder), LoadOptions("cpu", "float32", scheme))
    first, second = (model.query(model.encode(PICTURES), "what?") for model in models)
    assert first == second


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {"hidden_size": 32}))
    with pytest.raises(ModelUnavailable, match="of another shape"):
        engine.load(str(folder), CPU)
    with pytest.raises(ModelUnavailable, match="heads"):
        families.abilities_of("made_up", "it", CONFIG | {"heads": "two"})
