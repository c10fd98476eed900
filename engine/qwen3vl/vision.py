"""The vision encoder: a ViT with an interpolated position table and rotary embedding, and mergers of 2 x 2 patches."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.contract import ImageBudget
from engine.generation.chat_prompt import ImagePart
from engine.generation.image_features import ImageFeatures
from engine.layers.linear import Linear, LinearLayer
from engine.layers.norms import Norm, layer_norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotary_angles, rotary_frequencies
from engine.layers.vit import Angles, Vit, VitBlock
from engine.qwen3vl.config import ImageConfig, VisionConfig
from engine.qwen3vl.preprocess import block_order, make_patches
from engine.stepwise import Stepwise

EPS = 1e-6
ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Merger:
    """Projects each block of merge x merge patches to a token: normalised before (the last merger) or after joining."""

    norm: Norm
    fc1: LinearLayer
    fc2: LinearLayer

    def __call__(self, x: Tensor, block: int) -> Tensor:
        """Return (tokens, dim) for x: (tokens * block, width)."""
        joined = (x.shape[0] // block, -1)
        if len(self.norm[0]) == x.shape[1]:
            x = layer_norm(x, self.norm, EPS).view(joined)
        else:
            x = layer_norm(x.view(joined), self.norm, EPS)
        return self.fc2(F.gelu(self.fc1(x)))


class VisionEncoder:
    """Encodes an image; implements `engine.generation.vision_language_model.ImageEncoder`."""

    def __init__(self, vision: VisionConfig, image: ImageConfig, reader: ParameterReader) -> None:
        self.config, self.image = vision, image
        self.dtype, self.device = reader.dtype, reader.device
        exact = replace(reader, dtype=torch.float32)
        # A still image fills both frames of a patch with the same pixels, so that their kernels add up.
        kernel = exact("patch_embed.proj.weight").sum(2).flatten(1).to(self.dtype)
        self.patches = Linear(kernel, reader("patch_embed.proj.bias"), reader.packed)
        self.positions = exact("pos_embed.weight").unflatten(0, (vision.table_side, vision.table_side))
        self.encoder = Vit([_block(reader, f"blocks.{i}") for i in range(vision.depth)], vision.num_heads)
        self.merger = _merger(reader, "merger")
        self.deepstack = {
            layer: _merger(reader, f"deepstack_merger_list.{i}")
            for i, layer in enumerate(vision.deepstack_visual_indexes)
        }
        head = vision.hidden_size // vision.num_heads
        self.frequencies = rotary_frequencies(head // 2, ROTARY_BASE, self.device)
        self.typical_linear = self.encoder.blocks[0].qkv
        token_pixels = vision.token_side**2
        self.budget = ImageBudget(-(-image.min_pixels // token_pixels), max(1, image.max_pixels // token_pixels))

    def compile(self) -> None:
        """Compile the ViT."""
        self.encoder.compile()

    def encode(self, image: np.ndarray, budget: ImageBudget) -> Stepwise[list[ImagePart]]:
        """Encode an image; see `ImageEncoder.encode`."""
        patches, (rows, columns) = make_patches(image, self.config, self.image, budget)
        yield
        return [(yield from self.features(patches, rows, columns))]

    def features(self, patches: Tensor, rows: int, columns: int) -> Stepwise[ImageFeatures]:
        """Encode the patches of an image, (rows * columns, 3 * patch_size^2), to one embedding for each block."""
        merge = self.config.spatial_merge_size
        row, column = (x.to(self.device) for x in block_order(rows, columns, merge))
        x = self.patches(patches.to(self.device, self.dtype))
        x = x + self.position_embeddings(row, column, rows, columns).to(self.dtype)
        deepstack = []
        for layer, hidden in enumerate(self.encoder.layers(x, 1, self.angles(row, column))):
            if layer in self.deepstack:
                deepstack.append(self.deepstack[layer](hidden, merge**2))
            yield
        return ImageFeatures(
            self.merger(hidden, merge**2), (rows // merge, columns // merge), dict(enumerate(deepstack))
        )

    def position_embeddings(self, row: Tensor, column: Tensor, rows: int, columns: int) -> Tensor:
        """Sample the position table at patches, bilinearly, with the corners of table and image aligned.

        Args:
            row: Of each patch, (patches,).
            column: Of each patch.
            rows: Of the image.
            columns: Of the image.

        Returns:
            (patches, width), float32.
        """
        side = len(self.positions)

        def taps(index: Tensor, count: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
            place = torch.linspace(0, side - 1, count, device=self.device)[index]
            low = place.long()
            part = place - low
            return (low, 1 - part), ((low + 1).clamp(max=side - 1), part)

        embeddings = torch.zeros(len(row), self.positions.shape[2], device=self.device)
        for y, y_part in taps(row, rows):
            for x, x_part in taps(column, columns):
                embeddings += self.positions[y, x] * (y_part * x_part)[:, None]
        return embeddings

    def angles(self, row: Tensor, column: Tensor) -> Angles:
        """Return rotary cosines and sines of patches: half of a head turns with the row, half with the column."""
        frequencies = self.frequencies
        positions = torch.stack([row, column], 1).repeat_interleave(len(frequencies), 1)
        return rotary_angles(positions, frequencies.repeat(2))


def _block(reader: ParameterReader, name: str) -> VitBlock:
    return VitBlock(
        reader.norm(f"{name}.norm1"),
        reader.linear(f"{name}.attn.qkv"),
        reader.linear(f"{name}.attn.proj"),
        reader.norm(f"{name}.norm2"),
        reader.linear(f"{name}.mlp.linear_fc1"),
        reader.linear(f"{name}.mlp.linear_fc2"),
        eps=EPS,
    )


def _merger(reader: ParameterReader, name: str) -> Merger:
    return Merger(reader.norm(f"{name}.norm"), reader.linear(f"{name}.linear_fc1"), reader.linear(f"{name}.linear_fc2"))
