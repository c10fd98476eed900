"""Joins the parts of a Moondream 2 in GGUF."""

from dataclasses import replace

from tokenizers import AddedToken

from engine.catalog.locate import ModelFiles
from engine.contract import EngineError, ImageBudget, LoadOptions
from engine.generation.model_setup import ModelSetup
from engine.generation.template_selection import select_template
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.generation.vision_language_model import VisionLanguageModel
from engine.generation.vlm_family import VlmFamily, VlmParts
from engine.moondream_gguf.config import Config, read_config
from engine.moondream_gguf.prompts import IMAGE_TOKEN, STYLE
from engine.moondream_gguf.text import PhiBlock, text_model
from engine.moondream_gguf.vision import VisionEncoder
from engine.moondream_gguf.weights import QUANTIZATION_PLAN, open_weights


def build_parts(config: Config, setup: ModelSetup) -> VlmParts:
    """Build the text model and the vision encoder from the weights."""
    text = text_model(config.text, setup.reader("text"))
    vision = VisionEncoder(config.vision, setup.reader("vision")) if config.vision else None
    block = text.transformer.blocks[0]
    assert isinstance(block, PhiBlock)
    return VlmParts(text, vision, block.qkv)


FAMILY = VlmFamily(
    read_config,
    open_weights,
    QUANTIZATION_PLAN,
    lambda config: STYLE,
    lambda config: config.text.vocab_size,
    build_parts,
)


def load(model_files: ModelFiles, options: LoadOptions) -> VisionLanguageModel:
    """Load a model from its files. See `engine.load`.

    The chat template in some files ("vicuna") is not what the model was trained with: only a requested one is used.

    Raises:
        ModelUnavailable: A file is missing or broken.
        EngineError: An option can't be honoured.
    """
    name = model_files.name
    if options.image_budget != ImageBudget() or options.detail != "auto":
        raise EngineError(f"{name} encodes every image to the same number of tokens: leave detail and their limits out")
    config = read_config(model_files.config_source, model_files.config)
    weights = open_weights(model_files.weights, config, model_files.mmproj)
    tokenizer = with_image_token(load_tokenizer(model_files.tokenizer, config.text.vocab_size))
    template = select_template(STYLE.template, model_files.weights, options.chat_template or "builtin")
    style, revision = replace(STYLE, template=template), model_files.revision
    return FAMILY.build(name, config, weights, tokenizer, style=style, options=options, revision=revision)


def with_image_token(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with a token for the place of an image, whose id no model reads."""
    tokenizer.bpe.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)])
    return tokenizer
