"""From an image to what stands for it in a prompt: see `engine.generation.vision_language_model.ImageEncoder`."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import numpy as np
from torch import Tensor

from engine.contract import ImageBudget
from engine.devices import chunks_in_steps
from engine.generation.chat_prompt import ImagePart, Special
from engine.generation.image_features import ImageFeatures
from engine.layers.parameters import ParameterReader
from engine.lfm2vl.config import Config
from engine.lfm2vl.preprocess import Size, split, within_budget
from engine.lfm2vl.vision import Projector, VisionEncoder
from engine.stepwise import Stepwise

GPU_BATCH = 16  # sub-images that are encoded together; a CPU gains nothing from batches here


class ImageEncoder:
    """Splits, encodes and projects images."""

    def __init__(self, config: Config, vision: ParameterReader, projector: ParameterReader) -> None:
        self.config = config
        self.vision, self.projector = VisionEncoder(config, vision), Projector(config, projector)
        self.typical_linear = self.vision.encoder.blocks[0].qkv
        images = config.preprocessor_config
        self.budget = ImageBudget(
            images.min_image_tokens,
            config.max_tokens,
            images.do_image_splitting,
            images.max_tiles,
            images.use_thumbnail,
        )

    def encode(self, image: np.ndarray, budget: ImageBudget) -> Stepwise[list[ImagePart]]:
        """Return the embeddings of an image's sub-images, each after its mark, between those of start and end."""
        parts: list[ImagePart] = []
        sub_images = split(image, within_budget(self.config, budget))
        batch, factor = 1 if self.vision.device == "cpu" else GPU_BATCH, self.config.downsample_factor
        for grid, group in groupby(sub_images, key=lambda sub_image: sub_image.grid):
            same_size = list(group)
            embed = partial(self._embed, grid)
            projected = yield from chunks_in_steps([sub_image.pixels for sub_image in same_size], batch, embed)
            for sub_image, embeddings in zip(same_size, projected, strict=True):
                parts += [Special(sub_image.mark)] if sub_image.mark else []
                parts.append(ImageFeatures(embeddings, (grid[0] // factor, grid[1] // factor)))
        if not self.config.preprocessor_config.use_image_special_tokens:
            return [part for part in parts if isinstance(part, ImageFeatures)]
        return [Special("<|image_start|>"), *parts, Special("<|image_end|>")]

    def _embed(self, grid: Size, pixels: Sequence[Tensor]) -> Stepwise[list[Tensor]]:
        features = yield from self.vision.features(pixels, grid)
        return list(self.projector(features, grid))

    def compile(self) -> None:
        """Compile the vision encoder with torch.compile."""
        self.vision.encoder.compile()
