"""How LFM2-VL is asked: ChatML, with the sampling parameters of its model card, and its skills.

Sources: the cards of LiquidAI/LFM2-VL-* and LiquidAI/LFM2.5-VL-450M on the Hugging Face hub, and Liquid AI's
documentation (docs.liquid.ai, "LFM2.5-VL-450M"), for the sampling parameters; the card of LFM2.5-VL-450M for the
instruction to detect. Its coordinates are fractions under "bbox"; those of the larger LFM2.5-VL-3B are not.
"""

from typing import Any

from engine.contract import Abilities, Box, Generation
from engine.generation.chat_template import ChatTemplate
from engine.generation.prompt_style import ObjectQuestion, PromptStyle, abilities_of
from engine.lfm2vl.config import Config, read_config

TEMPLATE = ChatTemplate("chatml", "LFM2-VL", {"bos_token": "<|startoftext|>", "image_token": "<image>"})
DEFAULTS = Generation(temperature=0.1, top_p=1.0, min_p=0.15, repetition_penalty=1.05, max_tokens=768)
DETECT = ObjectQuestion(
    Box,
    "Detect all instances of: {prompt}. Response must be a JSON array: "
    '[{"label": ..., "bbox": [x1, y1, x2, y2]}, ...]. Coordinates are normalized to [0,1].',
    "bbox",
    scale=1.0,
)


def abilities(source: str, config: Any) -> Abilities:
    """Return the abilities of a model with this config.

    Args:
        source: Name of the config, for error messages.
        config: The parsed JSON; see `read_config`.

    Raises:
        ModelUnavailable: The config is invalid.
    """
    own = read_config(source, config)
    return abilities_of(prompt_style(own), own.has_vision)


def prompt_style(config: Config) -> PromptStyle:
    """Return how a model with this config is asked."""
    detect = DETECT if config.detects else None
    return PromptStyle(TEMPLATE, "<image>", ("<|im_end|>",), DEFAULTS, detect=detect)
