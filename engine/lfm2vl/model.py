"""Loading an LFM2-VL."""

from dataclasses import replace

import torch

from engine.catalog.locate import ModelFiles
from engine.checkpoints.conversion import QuantizableModel
from engine.contract import LoadOptions
from engine.generation.chat_template import select_template
from engine.generation.decoder_block import GroupedQueryBlock
from engine.generation.model_setup import ModelSetup, model_setup
from engine.generation.prompt_style import PromptStyle
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.generation.vision_language_model import VisionLanguageModel
from engine.lfm2vl.config import Config, read_config
from engine.lfm2vl.images import ImageEncoder
from engine.lfm2vl.prompts import prompt_style
from engine.lfm2vl.text import ConvBlock, text_model
from engine.lfm2vl.vision import Projector, VisionEncoder
from engine.lfm2vl.weights import QUANTIZATION_PLAN, open_weights
from engine.quantization.tensor_source import TensorSource


def load(model_files: ModelFiles, options: LoadOptions) -> VisionLanguageModel:
    """Load a model from its files. See `engine.load`.

    Raises:
        ModelUnavailable: A file is missing or broken.
        EngineError: An option can't be honoured.
    """
    config = read_config(model_files.config_source, model_files.config)
    tokenizer = load_tokenizer(model_files.tokenizer, config.text_config.vocab_size)
    weights = open_weights(model_files.weights, config, model_files.mmproj)
    style = prompt_style(config)
    style = replace(style, template=select_template(style.template, model_files.weights, options.chat_template))
    return build(
        model_files.name, config, weights, tokenizer, style=style, options=options, revision=model_files.revision
    )


def quantizable_model(model_files: ModelFiles) -> QuantizableModel:
    """Open a model for conversion to quantised weights. Raises ModelUnavailable as `load` does."""
    config = read_config(model_files.config_source, model_files.config)
    weights = open_weights(model_files.weights, config, model_files.mmproj)
    return QuantizableModel(weights, QUANTIZATION_PLAN, model_files.config, model_files.tokenizer)


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
        text = text_model(config.text_config, setup.reader("language_model"), setup.reader("lm_head"))
        images = _image_encoder(config, setup) if config.has_vision else None
    block = text.transformer.blocks[0]
    assert isinstance(block, ConvBlock | GroupedQueryBlock)
    return VisionLanguageModel(
        name,
        text,
        images,
        style or prompt_style(config),
        tokenizer=tokenizer,
        setup=setup,
        typical_linear=block.feed_forward.gate,
        revision=revision,
    )


def _image_encoder(config: Config, setup: ModelSetup) -> ImageEncoder:
    vision = VisionEncoder(config, setup.reader("vision_tower"))
    return ImageEncoder(config, vision, Projector(config, setup.reader("multi_modal_projector")))
