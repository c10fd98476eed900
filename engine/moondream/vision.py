"""The vision encoder: a ViT over the patches of each crop (SigLIP, Zhai et al. 2023), and the projection."""

import numpy as np
import torch
from torch import Tensor

from engine.layers.norms import layer_norm
from engine.layers.parameters import ParameterReader
from engine.layers.vit import Vit, VitBlock
from engine.moondream.config import VisionConfig
from engine.moondream.preprocess import normalize_pixels, pool, stitch
from engine.stepwise import Stepwise, finished


class VisionEncoder:
    """Encodes the crops of an image to one embedding for each patch of the grid."""

    def __init__(self, config: VisionConfig, reader: ParameterReader) -> None:
        self.config = config
        self.dtype, self.device = reader.dtype, reader.device
        self.patches = reader.linear("patch_emb")
        self.positions = reader("pos_emb")[0]
        blocks = [
            VitBlock(
                reader.norm(f"blocks.{i}.ln1"),
                reader.linear(f"blocks.{i}.attn.qkv"),
                reader.linear(f"blocks.{i}.attn.proj"),
                reader.norm(f"blocks.{i}.ln2"),
                reader.linear(f"blocks.{i}.mlp.fc1"),
                reader.linear(f"blocks.{i}.mlp.fc2"),
            )
            for i in range(config.enc_n_layers)
        ]
        self.encoder = Vit(blocks, config.enc_n_heads)
        self.post_norm = reader.norm("post_ln")
        self.proj1 = reader.linear("proj_mlp.fc1")
        self.proj2 = reader.linear("proj_mlp.fc2")

    def features(self, pixels: np.ndarray) -> Tensor:
        """Encode crops (n, S, S, 3) uint8, each on its own, to (n, grid * grid, enc_dim)."""
        return finished(self.features_in_steps(pixels))

    def features_in_steps(self, pixels: np.ndarray) -> Stepwise[Tensor]:
        """Do what `features` does, and yield between layers."""
        grid, patch = self.config.grid, self.config.enc_patch_size
        n = len(pixels)
        squares = normalize_pixels(pixels, self.dtype).to(self.device).view(n, -1, grid, patch, grid, patch)
        rows = squares.permute(0, 2, 4, 1, 3, 5).reshape(n * grid * grid, -1)
        x = yield from self.encoder.in_steps(self.patches(rows) + self.positions.repeat(n, 1), n)
        return layer_norm(x, self.post_norm).view(n, grid * grid, -1)

    def project(self, features: Tensor, tiling: tuple[int, int]) -> Tensor:
        """Project the features of an image into the text model.

        The features of the global crop are concatenated with those of the other crops, stitched and pooled to one grid.

        Args:
            features: (crops, grid * grid, enc_dim) of one image.
            tiling: Rows and columns of windows.

        Returns:
            (grid * grid, dim).
        """
        grid = self.config.grid
        whole = features[0]
        if len(features) == 1:  # the global crop is the only one
            tiled = whole
        else:
            tiles = features[1:].view(-1, grid, grid, self.config.enc_dim)
            tiled = pool(stitch(tiles, tiling, self.config.overlap_margin), grid).view(grid * grid, -1)
        return self.proj2(self.proj1(torch.cat([whole, tiled], dim=-1), gelu=True))
