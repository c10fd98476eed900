"""The golden LFM2-VL, and what the reference made of it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from engine.lfm2vl.config import Config, read_config

GOLDEN = Path(__file__).parents[1] / "golden" / "lfm2-vl"
CASES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text())
WITH_IMAGES = [name for name, case in CASES.items() if case["images"]]
TOLERANCE, LAYER_TOLERANCE, STEP_TOLERANCE = 2e-4, 5e-4, 1e-4


def config_data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((GOLDEN / "config.json").read_text())
    return data | {"preprocessor_config": json.loads((GOLDEN / "preprocessor_config.json").read_text())}


@cache
def config() -> Config:
    return read_config("config.json", config_data())


@cache
def tensors(case: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / f"{case}.safetensors")


@cache
def image(name: str) -> np.ndarray:
    return np.array(Image.open(GOLDEN / f"image_{name}.png").convert("RGB"))


def close(actual: torch.Tensor, wanted: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(actual, wanted, atol=tolerance, rtol=0)
