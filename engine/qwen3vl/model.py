"""Joins the parts of a Qwen3-VL."""

from engine.generation.decoder_block import GroupedQueryBlock
from engine.generation.model_setup import ModelSetup
from engine.generation.vlm_family import VlmFamily, VlmParts
from engine.qwen3vl.config import Config, read_config
from engine.qwen3vl.prompts import prompt_style
from engine.qwen3vl.text import text_model
from engine.qwen3vl.vision import VisionEncoder
from engine.qwen3vl.weights import QUANTIZATION_PLAN, open_weights


def build_parts(config: Config, setup: ModelSetup) -> VlmParts:
    """Build the text model and the vision encoder from the weights."""
    text = text_model(config.text, setup.reader("language_model"))
    vision = VisionEncoder(config.vision, config.image, setup.reader("visual")) if config.vision else None
    block = text.transformer.blocks[0]
    assert isinstance(block, GroupedQueryBlock)
    return VlmParts(text, vision, block.attention.q)


FAMILY = VlmFamily(
    read_config,
    open_weights,
    QUANTIZATION_PLAN,
    lambda config: prompt_style(config.defaults),
    lambda config: config.text.vocab_size,
    build_parts,
)
