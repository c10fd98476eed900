"""The golden models, loaded once, and what the reference made of them."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from engine.contract import Answer, Generation, LoadOptions
from engine.generation.tokenizer import load_tokenizer
from engine.moondream.config import Config, read_config
from engine.moondream.model import Moondream
from engine.moondream.preprocess import Crops
from engine.moondream.weights import open_weights
from engine.quantization.tensor_source import TensorSource

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = ("moondream2", "moondream3")
TOLERANCE = {"moondream2": 2e-4, "moondream3": 3e-4}  # of features, projections and logits
STATE_TOLERANCE = {"moondream2": 5e-4, "moondream3": 2e-3}  # of hidden states, cached keys and values

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")


@cache
def config(family: str) -> Config:
    path = GOLDEN / family / "config.json"
    return read_config(str(path), json.loads(path.read_text()))


@cache
def model(family: str, dtype: torch.dtype = torch.float32, compile: bool = False) -> Moondream:
    return built(family, open_weights(GOLDEN / family / "model.safetensors", config(family)), dtype, compile)


def built(family: str, weights: TensorSource, dtype: torch.dtype = torch.float32, compile: bool = False) -> Moondream:
    own = config(family)
    tokenizer = load_tokenizer(GOLDEN / family / "tokenizer.json", own.text.vocab_size)
    options = LoadOptions("cpu", str(dtype).removeprefix("torch."), compile=compile, resize="pillow")
    return Moondream(family, own, weights, tokenizer, options=options)


@cache
def expected(family: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((GOLDEN / family / "expected.json").read_text())
    return data


@cache
def tensors(family: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / family / "expected.safetensors")


@cache
def image(name: str) -> np.ndarray:
    return np.array(Image.open(GOLDEN / "images" / f"{name}.png").convert("RGB"))


@cache
def encoded(family: str, name: str, dtype: torch.dtype = torch.float32, compile: bool = False) -> Any:
    return model(family, dtype, compile).encode([image(name)])[0]


def generation(call: dict[str, Any]) -> Generation:
    settings = call["settings"]
    return replace(Generation(), temperature=settings["temperature"], max_tokens=settings["max_tokens"])


def with_window(crops: Crops) -> np.ndarray:
    """As the reference has them, (1 + rows * columns, S, S, 3): with the window of a (1, 1) tiling too."""
    return np.concatenate([crops.pixels, crops.pixels]) if crops.tiling == (1, 1) else crops.pixels


def as_reference(answer: Answer) -> dict[str, Any]:
    """In the reference's form."""
    if not answer.reasoning and not answer.grounding:
        return {"answer": answer.text}
    grounding = [
        {"start_idx": g.start, "end_idx": g.end, "points": [[p.x, p.y] for p in g.points]} for g in answer.grounding
    ]
    return {"reasoning": {"text": answer.reasoning, "grounding": grounding}, "answer": answer.text}
