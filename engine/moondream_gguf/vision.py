"""The vision encoder: a ViT over one square crop (SigLIP, Zhai et al. 2023), and the projection."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.contract import EngineError, ImageBudget
from engine.generation.chat_prompt import ImagePart
from engine.generation.image_features import ImageFeatures
from engine.layers.norms import layer_norm
from engine.layers.parameters import ParameterReader
from engine.layers.vit import Vit, VitBlock
from engine.moondream_gguf.config import VisionConfig
from engine.stepwise import Stepwise


class VisionEncoder:
    """Encodes an image; implements `engine.generation.vision_language_model.ImageEncoder`."""

    def __init__(self, config: VisionConfig, reader: ParameterReader) -> None:
        self.config, self.dtype, self.device = config, reader.dtype, reader.device
        self.patches = reader.linear("patch_emb")
        self.positions = reader("pos_emb.weight")[0]
        blocks = [_block(config, reader, f"blocks.{layer}") for layer in range(config.n_layers)]
        self.encoder = Vit(blocks, config.n_heads)
        self.post_norm = reader.norm("post_ln")
        self.proj1, self.proj2 = reader.linear("proj_mlp.fc1"), reader.linear("proj_mlp.fc2")
        self.typical_linear = blocks[0].qkv
        self.budget = ImageBudget(config.grid**2, config.grid**2)

    def compile(self) -> None:
        """Compile the ViT."""
        self.encoder.compile()

    def encode(self, image: np.ndarray, budget: ImageBudget) -> Stepwise[list[ImagePart]]:
        """Encode an image; see `ImageEncoder.encode`."""
        if budget != self.budget:
            raise EngineError("the model encodes every image to the same number of tokens: leave limits of tokens out")
        grid = self.config.grid
        features = yield from self.features(self.prepare(image))
        return [ImageFeatures(self.project(features), (grid, grid))]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Resize an image to the square that the model was trained with, without keeping its aspect ratio."""
        side = self.config.image_size
        return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))

    def features(self, pixels: np.ndarray) -> Stepwise[Tensor]:
        """Encode a square image (side, side, 3) uint8 to one vector for each patch, (grid * grid, dim)."""
        grid, patch = self.config.grid, self.config.patch_size
        normalized = torch.from_numpy(pixels).float().div_(255).sub_(0.5).div_(0.5)
        squares = normalized.to(self.device, self.dtype).view(grid, patch, grid, patch, 3)
        rows = squares.permute(0, 2, 4, 1, 3).reshape(grid * grid, -1)
        x = yield from self.encoder.in_steps(self.patches(rows) + self.positions, 1)
        return layer_norm(x, self.post_norm, self.config.eps)

    def project(self, features: Tensor) -> Tensor:
        """Project features into the text model, (grid * grid, text dim)."""
        return self.proj2(self.proj1(features, gelu=True))


def _block(config: VisionConfig, reader: ParameterReader, name: str) -> VitBlock:
    qkv, proj = reader.linear(f"{name}.attn.qkv"), reader.linear(f"{name}.attn.proj")
    fc1, fc2 = reader.linear(f"{name}.mlp.fc1"), reader.linear(f"{name}.mlp.fc2")
    norm1, norm2 = reader.norm(f"{name}.ln1"), reader.norm(f"{name}.ln2")
    return VitBlock(norm1, qkv, proj, norm2, fc1, fc2, eps=config.eps)
