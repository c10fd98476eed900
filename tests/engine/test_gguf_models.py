"""Models from GGUF files: the numbers of the reference with the weights of the file."""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import GOLDEN
from PIL import Image
from safetensors.torch import load_file

import engine
from engine.contract import (
    EncodedImage,
    EngineError,
    Generation,
    ImageBudget,
    LoadOptions,
    Message,
    ModelUnavailable,
)
from engine.generation.chat_prompt import ImagePart, prompt_pieces
from engine.generation.encoded_image import LazyImage
from engine.generation.vision_language_model import VisionLanguageModel

BUDGETS = {"qwen3-vl": ImageBudget(4, 48), "lfm2-vl": ImageBudget(4, 12)}  # of the golden cases: GGUF files have none
families = pytest.mark.parametrize("family", BUDGETS)
GREEDY = Generation(temperature=0.0, max_tokens=16)


def path_of(name: str) -> Path:
    return GOLDEN / "gguf" / f"{name}.gguf"


def load(path: Path, family: str = "qwen3-vl", **options: Any) -> VisionLanguageModel:
    model = engine.load(str(path), LoadOptions("cpu", "float32", image_budget=BUDGETS[family], **options))
    assert isinstance(model, VisionLanguageModel)
    return model


@cache
def model(family: str, kind: str) -> VisionLanguageModel:
    return load(path_of(f"{family}-tiny-{kind}"), family)


def conversation(loaded: VisionLanguageModel, family: str, case: str) -> tuple[Message, ...]:
    facts = json.loads((GOLDEN / family / "cases.json").read_text())[case]

    def image(name: str) -> np.ndarray:
        return np.array(Image.open(GOLDEN / family / f"image_{name}.png").convert("RGB"))

    return tuple(
        Message(role, tuple(value if kind == "text" else loaded.encode([image(value)])[0] for kind, value in parts))
        for role, parts in facts["turns"]
    )


def ends_of(loaded: VisionLanguageModel, pieces: Sequence[object], ends: Sequence[int]) -> torch.Tensor:
    """The logits after the first pieces, for each number of pieces."""
    decoder = loaded.decoder
    with torch.inference_mode():
        hidden = [decoder.step([(decoder.start(None), None, pieces[:end])]) for end in ends]  # type: ignore[list-item]
        return loaded.text.logits(torch.cat(hidden))


@families
@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_logits_of_the_weights_in_the_file(family: str, kind: str) -> None:
    loaded = model(family, kind)
    style = loaded.style

    def parts(encoded: EncodedImage) -> Sequence[ImagePart]:
        assert isinstance(encoded, LazyImage)
        return encoded.parts()

    messages = conversation(loaded, family, "one_image")
    pieces = prompt_pieces(messages, style.template, loaded.tokenizer, style.image_token, parts_of=parts)
    expected = load_file(GOLDEN / "gguf" / f"{family}-tiny-{kind}.expected.safetensors")
    ids, pad = expected["input_ids"].tolist(), loaded.tokenizer.special(style.image_token)
    assert [piece if isinstance(piece, int) else pad for piece in pieces] == ids
    ends = [end for end in range(1, len(ids) + 1) if ids[end - 1] != pad or ids[end : end + 1] != [pad]]
    logits = expected["logits"][[end - 1 for end in ends]]
    torch.testing.assert_close(ends_of(loaded, pieces, ends), logits, atol=5e-4, rtol=0)


@pytest.mark.parametrize("recipe", ["Q4_K_M", "Q3_K_M"])
def test_text_by_files_of_mixed_types(recipe: str) -> None:
    loaded = load(path_of(f"mix-{recipe}"))
    expected = load_file(GOLDEN / "gguf" / f"mix-{recipe}.expected.safetensors")
    ids = expected["input_ids"].tolist()
    logits = ends_of(loaded, ids, range(1, len(ids) + 1))
    torch.testing.assert_close(logits, expected["logits"], atol=5e-4, rtol=0)
    made: list[int] = []
    for _ in range(16):
        made.append(int(ends_of(loaded, ids + made, [len(ids) + len(made)]).argmax()))
    assert made == expected["greedy_ids"].tolist()
    said = " ".join(loaded.setup)
    assert "text only" in said
    assert ("Q3_K" in said and "widened to float32" in said) == (recipe == "Q3_K_M")


def test_a_text_file_without_its_mmproj_file_answers_text_only(tmp_path: Path) -> None:
    path = shutil.copyfile(path_of("qwen3-vl-tiny-F16"), tmp_path / "mine.gguf")
    loaded = load(path)
    assert set(loaded.abilities.prompts) == {"query", "chat"}
    whole = model("qwen3-vl", "F16")
    generation = Generation(temperature=0.0, max_tokens=8)
    assert loaded.query([None], "why?", generation=generation) == whole.query([None], "why?", generation=generation)
    with pytest.raises(EngineError, match=r"answers text only: its vision is in an mmproj file; give that as --mmproj"):
        loaded.encode([np.zeros((64, 64, 3), np.uint8)])
    shutil.copyfile(path_of("mmproj-qwen3-vl-tiny-F16"), tmp_path / "vision.bin")
    assert "detect" in load(path, mmproj=str(tmp_path / "vision.bin")).abilities.prompts
    with pytest.raises(ModelUnavailable, match=r"is not the mmproj file of mine.gguf"):
        load(path, mmproj=str(path_of("mmproj-lfm2-vl-tiny-F16")))
    with pytest.raises(ModelUnavailable, match="nothing: no such file"):
        load(path, mmproj=str(tmp_path / "nothing"))


def test_a_file_of_any_name(tmp_path: Path) -> None:
    blob = shutil.copyfile(path_of("qwen3-vl-tiny-F16"), tmp_path / "sha256-abc")
    loaded = load(Path(blob), mmproj=str(path_of("mmproj-qwen3-vl-tiny-F16")))
    assert loaded.revision == model("qwen3-vl", "F16").revision
    assert load(Path(blob)).revision != loaded.revision


def test_chat_templates() -> None:
    path = path_of("qwen3-vl-tiny-F16")
    conversation = [Message("user", ("hi",))]
    own = load(path, chat_template="builtin").style.template.render(conversation)
    assert load(path).style.template.render(conversation) == own
    assert load(path, chat_template="vicuna").style.template.render(conversation) == "USER: hi\nASSISTANT:"
    assert load(path, chat_template="{{ messages[0].content }}!").style.template.render(conversation) == "hi!"
    with pytest.raises(ModelUnavailable, match=r"--chat-template: the chat template is broken: .*builtin"):
        load(path, chat_template="{{")


def test_options_that_other_models_lack() -> None:
    with pytest.raises(EngineError, match="leave that out"):
        engine.load("centerface", LoadOptions(mmproj="x"))
    with pytest.raises(ModelUnavailable, match="only a GGUF file has an mmproj file"):
        engine.load(str(GOLDEN / "moondream2"), LoadOptions(mmproj="x"))


def test_a_folder_of_files(tmp_path: Path) -> None:
    for name in ("qwen3-vl-tiny-F16", "mmproj-qwen3-vl-tiny-F16"):
        shutil.copyfile(path_of(name), tmp_path / f"{name}.gguf")
    assert "detect" in load(tmp_path).abilities.prompts
    shutil.copyfile(path_of("mix-Q4_K_M"), tmp_path / "mix.gguf")
    with pytest.raises(ModelUnavailable, match=r"several models; give the path of one of them: mix.gguf, qwen3-vl"):
        engine.load(str(tmp_path))
