"""Joins the parts of an LFM2-VL."""

from engine.generation.decoder_block import GroupedQueryBlock
from engine.generation.model_setup import ModelSetup
from engine.generation.vlm_family import VlmFamily, VlmParts
from engine.lfm2vl.config import Config, read_config
from engine.lfm2vl.images import ImageEncoder
from engine.lfm2vl.prompts import prompt_style
from engine.lfm2vl.text import ConvBlock, text_model
from engine.lfm2vl.weights import QUANTIZATION_PLAN, open_weights


def build_parts(config: Config, setup: ModelSetup) -> VlmParts:
    """Build the text model and the image encoder from the weights."""
    text = text_model(config.text_config, setup.reader("language_model"))
    readers = setup.reader("vision_tower"), setup.reader("multi_modal_projector")
    block = text.transformer.blocks[0]
    assert isinstance(block, ConvBlock | GroupedQueryBlock)
    return VlmParts(text, ImageEncoder(config, *readers) if config.has_vision else None, block.feed_forward.gate)


FAMILY = VlmFamily(
    read_config,
    open_weights,
    QUANTIZATION_PLAN,
    prompt_style,
    lambda config: config.text_config.vocab_size,
    build_parts,
)
