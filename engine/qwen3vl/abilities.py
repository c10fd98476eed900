"""The skills of a Qwen3-VL checkpoint, from its config alone."""

from typing import Any

from engine.contract import Abilities
from engine.generation.prompt_style import abilities_of
from engine.qwen3vl.config import read_config
from engine.qwen3vl.prompts import STYLE


def abilities(source: str, config: Any) -> Abilities:
    """Return the abilities of a model with this config.

    Args:
        source: Name of the config, for error messages.
        config: The parsed JSON; see `read_config`.

    Raises:
        ModelUnavailable: The config is invalid.
    """
    return abilities_of(STYLE, read_config(source, config).vision is not None)
