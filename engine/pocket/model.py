"""Loads the trained `pocket` from the weights next to this file, as a Moondream 2."""

from engine.catalog.locate import ModelFiles
from engine.contract import LoadOptions
from engine.moondream import model as moondream
from engine.pocket.abilities import CONFIG, DATA

WEIGHTS, TOKENIZER = CONFIG.with_name("model.safetensors"), CONFIG.with_name("tokenizer.json")


def load(options: LoadOptions) -> moondream.Moondream:
    """Load pocket. See `engine.load`."""
    return moondream.load(model_files(), options)


def model_files() -> ModelFiles:
    """Return the config, weights and tokenizer of pocket."""
    return ModelFiles("pocket", "moondream", DATA, str(CONFIG), WEIGHTS, TOKENIZER)
