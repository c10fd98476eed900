"""What a Moondream can be asked, told from its config alone."""

from engine.contract import Abilities
from engine.moondream.config import Config


def abilities(config: Config) -> Abilities:
    templates = config.tokenizer.templates
    prompts: dict[str, frozenset[str] | None] = {}
    if templates.caption:
        prompts["caption"] = frozenset(templates.caption)
    for skill in ("query", "detect", "point"):
        if getattr(templates, skill):
            prompts[skill] = None
    if "point" in prompts:
        prompts["gaze"] = None
    return Abilities(prompts)
