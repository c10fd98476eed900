"""How a vision-language model is loaded, for any family: from its files, to the parts, to the model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from engine.catalog.locate import ModelFiles
from engine.checkpoints.conversion import QuantizableModel
from engine.checkpoints.tensor_map import TensorMap
from engine.contract import LoadOptions
from engine.generation.model_setup import ModelSetup, model_setup
from engine.generation.prompt_style import PromptStyle
from engine.generation.template_selection import select_template
from engine.generation.text_model import TextModel
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.generation.vision_language_model import ImageEncoder, VisionLanguageModel
from engine.layers.linear import LinearLayer
from engine.quantization.plan import QuantizationPlan
from engine.quantization.tensor_source import TensorSource

C = TypeVar("C")  # the family's config


@dataclass(frozen=True)
class VlmParts:
    """What a family builds.

    Attributes:
        text: The decoder.
        images: The image encoder; None: the files have no vision part.
        typical_linear: The layer whose kernel and compilation stand for the decoder's.
    """

    text: TextModel
    images: ImageEncoder | None
    typical_linear: LinearLayer


@dataclass(frozen=True)
class VlmFamily(Generic[C]):
    """What loading needs of a family.

    Attributes:
        read_config: (source, parsed JSON) -> config; source names it in errors.
        open_weights: (path, config, mmproj) -> the tensors, checked against the config.
        plan: What may be quantised.
        style: Config -> how the model is asked.
        vocab_size: Config -> number of token ids.
        parts: (config, setup) -> the parts, built from the weights.
    """

    read_config: Callable[[str, Any], C]
    open_weights: Callable[[Path, C, Path | None], TensorMap]
    plan: QuantizationPlan
    style: Callable[[C], PromptStyle]
    vocab_size: Callable[[C], int]
    parts: Callable[[C, ModelSetup], VlmParts]

    def load(self, model_files: ModelFiles, options: LoadOptions) -> VisionLanguageModel:
        """Load a model from its files. See `engine.load`.

        Raises:
            ModelUnavailable: A file is missing or broken.
            EngineError: An option can't be honoured.
        """
        config, weights = self._opened(model_files)
        tokenizer = load_tokenizer(model_files.tokenizer, self.vocab_size(config))
        style = self.style(config)
        style = replace(style, template=select_template(style.template, model_files.weights, options.chat_template))
        revision = model_files.revision
        return self.build(model_files.name, config, weights, tokenizer, style=style, options=options, revision=revision)

    def build(
        self,
        name: str,
        config: C,
        weights: TensorSource,
        tokenizer: Tokenizer,
        *,
        style: PromptStyle | None = None,
        options: LoadOptions = LoadOptions(),
        revision: str = "",
    ) -> VisionLanguageModel:
        """Build a model from its parts; see `load`. `style` None: the family's own."""
        setup = model_setup(name, weights, self.plan, options)
        with torch.inference_mode():
            parts = self.parts(config, setup)
        return VisionLanguageModel(
            name,
            parts.text,
            parts.images,
            style or self.style(config),
            tokenizer=tokenizer,
            setup=setup,
            typical_linear=parts.typical_linear,
            revision=revision,
        )

    def quantizable_model(self, model_files: ModelFiles) -> QuantizableModel:
        """Open a model for conversion to quantised weights. Raises ModelUnavailable as `load` does."""
        _, weights = self._opened(model_files)
        return QuantizableModel(weights, self.plan, model_files.config, model_files.tokenizer)

    def _opened(self, model_files: ModelFiles) -> tuple[C, TensorMap]:
        config = self.read_config(model_files.config_source, model_files.config)
        return config, self.open_weights(model_files.weights, config, model_files.mmproj)
