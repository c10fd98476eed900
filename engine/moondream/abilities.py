"""The skills of a Moondream checkpoint, from its config alone."""

from typing import Any

from engine.contract import Abilities
from engine.moondream.config import Config, read_config


def abilities(source: str, config: Any) -> Abilities:
    """Return the abilities of a model with this config.

    Args:
        source: Name of the config, for error messages.
        config: The parsed JSON; see `read_config`.

    Raises:
        ModelUnavailable: The config is invalid.
    """
    return abilities_of(read_config(source, config))


def abilities_of(config: Config) -> Abilities:
    """Return the skills that have a prompt template, and gaze, which needs none."""
    templates, vocabulary = config.tokenizer.templates, config.vocabulary
    prompts: dict[str, frozenset[str] | None] = {}
    if templates.caption:
        prompts["caption"] = frozenset(templates.caption)
    for skill in ("query", "detect", "point"):
        if getattr(templates, skill):
            prompts[skill] = None if vocabulary is None or skill == "query" else frozenset(vocabulary)
    return Abilities(prompts | {"gaze": None})
