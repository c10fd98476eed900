"""The trained `pocket`: the weights beside this file, run as any Moondream 2."""

import json
from typing import Literal

from engine.locate import Located
from engine.moondream import model as moondream
from engine.pocket.prompts import CONFIG, VOCABULARY

WEIGHTS, TOKENIZER = CONFIG.with_name("model.safetensors"), CONFIG.with_name("tokenizer.json")


def load(
    device: str,
    dtype: str | None,
    quantize: str | None,
    compile: bool,
    detail: str | int,
    resize: Literal["vips", "pillow"] | None,
) -> moondream.Moondream:
    """See `engine.load`."""
    return moondream.load(located(), device, dtype, quantize, compile, detail, resize, VOCABULARY)


def located() -> Located:
    return Located("pocket", "moondream", json.loads(CONFIG.read_text("utf-8")), str(CONFIG), WEIGHTS, TOKENIZER)
