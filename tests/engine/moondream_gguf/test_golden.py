"""Moondream 2 in GGUF: every number of the reference within its tolerance, and every token equal."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import engine
from engine.checkpoints.gguf_files import find_mmproj, open_gguf
from engine.contract import (
    EncodedImage,
    EngineError,
    Generation,
    ImageBudget,
    LoadOptions,
    Message,
)
from engine.generation.chat_prompt import ImagePart, prompt_pieces
from engine.generation.encoded_image import LazyImage
from engine.generation.image_features import ImageFeatures
from engine.generation.vision_language_model import VisionLanguageModel
from engine.moondream_gguf.vision import VisionEncoder
from engine.stepwise import finished

FOLDER = GOLDEN / "moondream2-gguf"
TOLERANCE = 5e-4
QUESTION = "What is in this image?"
kinds = pytest.mark.parametrize("kind", ["F16", "Q4_0"])
pictures = pytest.mark.parametrize("name", ["a", "b_squash", "b_pad"])


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@cache
def model(kind: str, template: str | None = None) -> VisionLanguageModel:
    options = LoadOptions("cpu", "float32", chat_template=template)
    loaded = engine.load(str(FOLDER / f"moondream2-tiny-{kind}.gguf"), options)
    assert isinstance(loaded, VisionLanguageModel)
    return loaded


def vision() -> VisionEncoder:
    encoder = model("F16").images
    assert isinstance(encoder, VisionEncoder)
    return encoder


@cache
def expected() -> dict[str, Tensor]:
    return load_file(FOLDER / "expected.safetensors")


def close(made: Tensor, name: str) -> None:
    torch.testing.assert_close(made, expected()[name], atol=TOLERANCE, rtol=0)


@cache
def picture(name: str) -> np.ndarray:
    """An image; b_pad as llama.cpp prepares it: on a grey square, with its aspect ratio kept."""
    path = FOLDER / "image_a.png" if name == "a" else GOLDEN / "images" / "img_a.png"
    image = Image.open(path).convert("RGB")
    if name != "b_pad":
        return np.array(image)
    scale = 378 / max(image.size)
    width, height = (math.ceil(side * scale) for side in image.size)
    square = Image.new("RGB", (378, 378), (122, 116, 104))
    square.paste(image.resize((width, height), Image.Resampling.BICUBIC), ((378 - width) // 2, (378 - height) // 2))
    return np.array(square)


@cache
def features(name: str) -> ImageFeatures:
    encoder = vision()
    [part] = finished(encoder.encode(picture(name), encoder.budget))
    assert isinstance(part, ImageFeatures)
    return part


def logits(kind: str, pieces: Sequence[int | ImageFeatures]) -> Tensor:
    loaded = model(kind)
    return loaded.text.logits(loaded.decoder.step([(loaded.decoder.start(None), None, pieces)]))


def greedy(kind: str, pieces: Sequence[int | ImageFeatures]) -> list[int]:
    loaded = model(kind)
    cache, made, feed = loaded.decoder.start(None), list[int](), pieces
    while len(made) < 16:
        hidden = loaded.decoder.step([(cache, None, feed)])
        made.append(int(loaded.text.logits(hidden).argmax()))
        feed = made[-1:]
    return made


@pictures
def test_pixels(name: str) -> None:
    made = vision().prepare(picture(name))[::14, ::14].astype(int)
    assert np.abs(made - expected()[f"pixels/{name}_sample"].numpy()).max() <= 1


@pictures
def test_image_embeddings(name: str) -> None:
    assert vision().config.n_layers == 27  # of 28 blocks the last one is a copy
    embeddings = features(name).embeddings
    close(embeddings if name == "a" else embeddings[::9], f"F16/{name}/image_embeds")


@kinds
def test_text(kind: str) -> None:
    ids = expected()["text/input_ids"].tolist()
    rows = torch.cat([logits(kind, ids[:end]) for end in range(1, len(ids) + 1)])
    close(rows, f"{kind}/text/logits")
    assert greedy(kind, ids) == expected()[f"{kind}/text/greedy_ids"].tolist()


@pytest.mark.parametrize(("kind", "prompt"), [("F16", "qa"), ("F16", "qa_nobos"), ("F16", "vicuna"), ("Q4_0", "qa")])
def test_prompts_with_an_image(kind: str, prompt: str) -> None:
    facts = expected()
    image = [features("a")] * 729
    pieces = [*facts[f"{prompt}/ids_before"].tolist(), *image, *facts[f"{prompt}/ids_after"].tolist()]
    close(logits(kind, pieces), f"{kind}/a/{prompt}/logits_last")
    assert greedy(kind, pieces) == facts[f"{kind}/a/{prompt}/greedy_ids"].tolist()


@pytest.mark.parametrize(("template", "prompt"), [(None, "qa"), ("vicuna", "vicuna")])
@kinds
def test_the_prompt_is_the_trained_one_unless_another_is_requested(
    kind: str, template: str | None, prompt: str
) -> None:
    loaded = model(kind, template)

    def parts(encoded: EncodedImage) -> Sequence[ImagePart]:
        assert isinstance(encoded, LazyImage)
        return encoded.parts()

    messages = [Message("user", (loaded.encode([picture("a")])[0], QUESTION))]
    style = loaded.style
    pieces = prompt_pieces(messages, style.template, loaded.tokenizer, style.image_token, parts_of=parts)
    before, after = (expected()[f"{prompt}/ids_{side}"].tolist() for side in ("before", "after"))
    assert [piece for piece in pieces if isinstance(piece, int)] == before + after
    assert len(pieces) == len(before) + 729 + len(after)


def test_texts_are_cut_as_in_training() -> None:
    for case in json.loads((FOLDER / "tokenizer_cases.json").read_text()):
        assert model("F16").tokenizer.encode_prompt(case["text"]) == case["ids"]


def test_several_turns() -> None:
    turns = [
        Message("user", (EncodedImage(), "What?")),
        Message("assistant", ("A dog.",)),
        Message("user", ("Which colour?",)),
    ]
    assert model("F16").style.template.render(turns) == (
        "<|endoftext|><image>\n\nQuestion: What?\n\nAnswer:A dog.\n\nQuestion: Which colour?\n\nAnswer:"
    )
    with pytest.raises(EngineError, match="Moondream takes no system message"):
        model("F16").style.template.render([Message("system", ("x",)), *turns])


def test_answers() -> None:
    loaded = model("F16")
    [image] = loaded.encode([picture("a")])
    generation = Generation(temperature=0.0, max_tokens=16)
    ids = expected()["F16/a/qa/greedy_ids"].tolist()
    end = ids.index(loaded.stop_ids[0]) if loaded.stop_ids[0] in ids else len(ids)
    [answer] = loaded.query([image], QUESTION, generation=generation)
    assert list(answer.tokens) == ids[:end]
    assert answer.text == loaded.tokenizer.decode(ids[:end]).lstrip()
    [caption] = loaded.caption([image], generation=generation)
    assert caption == caption.lstrip() != ""
    chat = loaded.chat([Message("user", (image, QUESTION))], generation)
    assert chat.tokens == answer.tokens


def test_what_it_can_not_do() -> None:
    loaded = model("F16")
    [image] = loaded.encode([picture("a")])
    for find in (loaded.detect, loaded.point):
        with pytest.raises(
            EngineError, match=r"can't (detect|point): its GGUF files have no region heads; `moondream2`"
        ):
            find([image], "face")
    for options in (LoadOptions(image_budget=ImageBudget(max_tokens=64)), LoadOptions(detail="low")):
        with pytest.raises(EngineError, match="encodes every image to the same number of tokens"):
            engine.load(str(FOLDER / "moondream2-tiny-F16.gguf"), options)


def test_the_published_names_of_a_pair(tmp_path: Path) -> None:
    for name, published in (
        ("moondream2-tiny-F16", "moondream2-text-model-f16_ct-vicuna"),
        ("mmproj-moondream2-tiny-F16", "moondream2-mmproj-f16-20250414"),
    ):
        shutil.copyfile(FOLDER / f"{name}.gguf", tmp_path / f"{published}.gguf")
    text = open_gguf(tmp_path / "moondream2-text-model-f16_ct-vicuna.gguf")
    assert find_mmproj(text) == tmp_path / "moondream2-mmproj-f16-20250414.gguf"


def test_without_its_vision_part_it_is_a_language_model(tmp_path: Path) -> None:
    alone = engine.load(
        str(shutil.copyfile(FOLDER / "moondream2-tiny-F16.gguf", tmp_path / "x.gguf")), LoadOptions("cpu")
    )
    assert set(alone.abilities.prompts) == {"query", "chat"}
