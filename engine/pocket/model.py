"""The trained `pocket`: the weights beside this file, run as any Moondream 2."""

from typing import Literal

from engine.catalog.locate import Located
from engine.moondream import model as moondream
from engine.pocket.abilities import CONFIG, DATA

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
    return moondream.load(located(), device, dtype, quantize, compile, detail, resize)


def located() -> Located:
    return Located("pocket", "moondream", DATA, str(CONFIG), WEIGHTS, TOKENIZER)
