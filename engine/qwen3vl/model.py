"""Loading a Qwen3-VL."""

from dataclasses import replace

import torch

from engine.catalog.locate import ModelFiles
from engine.contract import LoadOptions
from engine.generation.chat_template import select_template
from engine.generation.decoder_block import GroupedQueryBlock
from engine.generation.model_setup import model_setup
from engine.generation.prompt_style import PromptStyle
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.generation.vision_language_model import VisionLanguageModel
from engine.quantization.tensor_source import TensorSource
from engine.qwen3vl.config import Config, read_config
from engine.qwen3vl.prompts import prompt_style
from engine.qwen3vl.text import text_model
from engine.qwen3vl.vision import VisionEncoder
from engine.qwen3vl.weights import QUANTIZATION_PLAN, open_weights


def load(model_files: ModelFiles, options: LoadOptions) -> VisionLanguageModel:
    """Load a model from its files. See `engine.load`.

    Raises:
        ModelUnavailable: A file is missing or broken.
        EngineError: An option can't be honoured.
    """
    config = read_config(model_files.config_source, model_files.config)
    tokenizer = load_tokenizer(model_files.tokenizer, config.text.vocab_size)
    weights = open_weights(model_files.weights, config, model_files.mmproj)
    style = prompt_style(config.defaults)
    style = replace(style, template=select_template(style.template, model_files.weights, options.chat_template))
    return build(
        model_files.name, config, weights, tokenizer, style=style, options=options, revision=model_files.revision
    )


def build(
    name: str,
    config: Config,
    weights: TensorSource,
    tokenizer: Tokenizer,
    *,
    style: PromptStyle | None = None,
    options: LoadOptions = LoadOptions(),
    revision: str = "",
) -> VisionLanguageModel:
    """Build a model from its parts; see `load`. `style` None: the family's own."""
    setup = model_setup(name, weights, QUANTIZATION_PLAN, options)
    with torch.inference_mode():
        text = text_model(config.text, setup.reader("language_model"))
        vision = VisionEncoder(config.vision, config.image, setup.reader("visual")) if config.vision else None
    block = text.transformer.blocks[0]
    assert isinstance(block, GroupedQueryBlock)
    return VisionLanguageModel(
        name,
        text,
        vision,
        style or prompt_style(config.defaults),
        tokenizer=tokenizer,
        setup=setup,
        typical_linear=block.attention.q,
        revision=revision,
    )
