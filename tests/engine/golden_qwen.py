"""The golden Qwen3-VL, loaded once, and what the reference made of its cases."""

import json
from functools import cache
from typing import Any

import numpy as np
import torch
from golden import GOLDEN
from PIL import Image
from safetensors.torch import load_file

import engine
from engine.contract import EncodedImage, LoadOptions, Message
from engine.generation.vision_language_model import VisionLanguageModel

FOLDER = GOLDEN / "qwen3-vl"
CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())


@cache
def model(quantize: str | None = None) -> VisionLanguageModel:
    loaded = engine.load(str(FOLDER), LoadOptions("cpu", "float32", quantize))
    assert isinstance(loaded, VisionLanguageModel)
    return loaded


@cache
def image(name: str) -> np.ndarray:
    return np.array(Image.open(FOLDER / f"image_{name}.png").convert("RGB"))


@cache
def tensors() -> dict[str, torch.Tensor]:
    return load_file(FOLDER / "expected.safetensors")


def expected(case: str, name: str) -> torch.Tensor:
    return tensors()[f"{case}/{name}"]


def conversation(case: str, model: VisionLanguageModel) -> list[Message]:
    """The turns of a case, each image encoded once."""
    encoded: dict[str, EncodedImage] = {name: model.encode([image(name)])[0] for name in CASES[case]["images"]}
    return [
        Message(role, tuple(value if kind == "text" else encoded[value] for kind, value in parts))
        for role, parts in CASES[case]["turns"]
    ]
