"""The vision encoder: SigLIP2 NaFlex (Tschannen et al. 2025), a ViT at native resolution, and the projector."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.layers.norms import layer_norm
from engine.layers.parameters import ParameterReader
from engine.layers.vit import Vit, VitBlock
from engine.lfm2vl.config import Config
from engine.lfm2vl.preprocess import Size
from engine.stepwise import Stepwise


class VisionEncoder:
    """Encodes the patches of sub-images to one feature a patch."""

    def __init__(self, config: Config, reader: ParameterReader) -> None:
        vision = config.vision_config
        self.dtype, self.device, self.eps = reader.dtype, reader.device, vision.layer_norm_eps
        self.patches = reader.linear("embeddings.patch_embedding")
        side = round(vision.num_patches**0.5)
        self.positions = reader("embeddings.position_embedding.weight").float().T.view(1, -1, side, side)
        blocks = [
            VitBlock(
                reader.norm(f"encoder.layers.{i}.layer_norm1"),
                reader.fused_linear([f"encoder.layers.{i}.self_attn.{part}_proj" for part in "qkv"]),
                reader.linear(f"encoder.layers.{i}.self_attn.out_proj"),
                reader.norm(f"encoder.layers.{i}.layer_norm2"),
                reader.linear(f"encoder.layers.{i}.mlp.fc1"),
                reader.linear(f"encoder.layers.{i}.mlp.fc2"),
                eps=self.eps,
            )
            for i in range(config.vision_layers)
        ]
        self.encoder = Vit(blocks, vision.num_attention_heads)
        self.post_norm = reader.norm("post_layernorm")

    def position_embeddings(self, grid: Size) -> Tensor:
        """Return the table of positions, resized to a grid of patches: (rows * columns, dim)."""
        resized = F.interpolate(self.positions, grid, mode="bilinear", align_corners=False, antialias=True)
        return resized[0].flatten(1).T.to(self.dtype)

    def features(self, pixels: Sequence[Tensor], grid: Size) -> Stepwise[Tensor]:
        """Encode sub-images of one size, and yield between layers.

        Args:
            pixels: Of each, (rows * columns, patch * patch * 3).
            grid: Rows and columns of patches.

        Returns:
            (n, rows * columns, dim).
        """
        n = len(pixels)
        rows = torch.cat([*pixels]).to(self.device, self.dtype)
        x = yield from self.encoder.in_steps(self.patches(rows) + self.position_embeddings(grid).repeat(n, 1), n)
        return layer_norm(x, self.post_norm, self.eps).view(n, grid[0] * grid[1], -1)


class Projector:
    """Projects squares of patches into the text model (pixel unshuffle, Shi et al. 2016)."""

    def __init__(self, config: Config, reader: ParameterReader) -> None:
        self.factor = config.downsample_factor
        self.norm = reader.norm("layer_norm") if config.projector_use_layernorm else None
        self.linear_1, self.linear_2 = reader.linear("linear_1"), reader.linear("linear_2")

    def __call__(self, features: Tensor, grid: Size) -> Tensor:
        """Project the features of sub-images, (n, rows * columns, dim), to (n, tokens, text dim)."""
        n, f = len(features), self.factor
        squares = features.view(n, grid[0] // f, f, grid[1] // f, f, -1).transpose(2, 3)
        x = squares.reshape(n * (grid[0] // f) * (grid[1] // f), -1)
        x = layer_norm(x, self.norm) if self.norm else x
        projected: Tensor = self.linear_2(F.gelu(self.linear_1(x)))
        return projected.view(n, -1, projected.shape[1])
