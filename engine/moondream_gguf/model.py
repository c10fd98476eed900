"""Loading a Moondream 2 in GGUF."""

from dataclasses import replace

import torch
from tokenizers import AddedToken

from engine.catalog.locate import ModelFiles
from engine.checkpoints.conversion import QuantizableModel
from engine.contract import EngineError, ImageBudget, LoadOptions
from engine.generation.chat_template import select_template
from engine.generation.model_setup import model_setup
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.generation.vision_language_model import VisionLanguageModel
from engine.moondream_gguf.config import read_config
from engine.moondream_gguf.prompts import IMAGE_TOKEN, STYLE
from engine.moondream_gguf.text import PhiBlock, text_model
from engine.moondream_gguf.vision import VisionEncoder
from engine.moondream_gguf.weights import QUANTIZATION_PLAN, open_weights


def load(model_files: ModelFiles, options: LoadOptions) -> VisionLanguageModel:
    """Load a model from its files. See `engine.load`.

    The chat template in some files ("vicuna") is not what the model was trained with: only a requested one is used.

    Raises:
        ModelUnavailable: A file is missing or broken.
        EngineError: An option can't be honoured.
    """
    if options.image_budget != ImageBudget() or options.detail != "auto":
        raise EngineError(
            f"{model_files.name} encodes every image to the same number of tokens: leave detail and their limits out"
        )
    config = read_config(model_files.config_source, model_files.config)
    tokenizer = with_image_token(load_tokenizer(model_files.tokenizer, config.text.vocab_size))
    weights = open_weights(model_files.weights, config, model_files.mmproj)
    requested = options.chat_template or "builtin"
    style = replace(STYLE, template=select_template(STYLE.template, model_files.weights, requested))
    setup = model_setup(model_files.name, weights, QUANTIZATION_PLAN, options)
    with torch.inference_mode():
        text = text_model(config.text, setup.reader("text"))
        vision = VisionEncoder(config.vision, setup.reader("vision")) if config.vision else None
    block = text.transformer.blocks[0]
    assert isinstance(block, PhiBlock)
    return VisionLanguageModel(
        model_files.name,
        text,
        vision,
        style,
        tokenizer=tokenizer,
        setup=setup,
        typical_linear=block.qkv,
        revision=model_files.revision,
    )


def with_image_token(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with a token for the place of an image, whose id no model reads."""
    tokenizer.bpe.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)])
    return tokenizer


def quantizable_model(model_files: ModelFiles) -> QuantizableModel:
    """Raise EngineError: a GGUF file can't be converted."""
    raise EngineError(f"{model_files.weights}: GGUF files can't be converted; give `moondream2` in safetensors")
