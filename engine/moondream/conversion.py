"""A Moondream to be written in few bits."""

from engine.catalog.locate import Located
from engine.checkpoints.conversion import Convertible
from engine.moondream.config import read_config
from engine.moondream.weights import MATRIX_PLAN, open_weights


def convertible(located: Located) -> Convertible:
    """Return the model whose files were located; ModelUnavailable if its weights are missing or broken."""
    weights = open_weights(located.weights, read_config(located.config_source, located.config))
    return Convertible(weights, MATRIX_PLAN, located.config, located.tokenizer)
