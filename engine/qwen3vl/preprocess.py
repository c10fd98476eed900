"""From an image to the rows of patches that the vision encoder reads."""

import math

import numpy as np
import torch
from torch import Tensor

from engine.contract import ImageBudget
from engine.qwen3vl.config import ImageConfig, VisionConfig
from engine.resize import resize_with_torch

MAX_ASPECT_RATIO = 200


def smart_resize(height: int, width: int, side: int, budget: ImageBudget) -> tuple[int, int]:
    """Return the size that an image is resized to: multiples of `side` near its own, within the budget.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        side: Pixels of a side of the square that becomes a token.
        budget: Both of its numbers are set.

    Returns:
        Height and width.

    Raises:
        ValueError: The image is far too narrow.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ValueError(f"an image of {width} x {height} pixels is too narrow: one side is over 200 times the other")
    assert budget.min_tokens
    assert budget.max_tokens
    least, most = budget.min_tokens * side**2, budget.max_tokens * side**2
    new_height, new_width = round(height / side) * side, round(width / side) * side
    if new_height * new_width > most:
        shrink = math.sqrt(height * width / most)
        new_height, new_width = (max(side, math.floor(x / shrink / side) * side) for x in (height, width))
    elif new_height * new_width < least:
        grow = math.sqrt(least / (height * width))
        new_height, new_width = (math.ceil(x * grow / side) * side for x in (height, width))
    return new_height, new_width


def make_patches(
    image: np.ndarray, vision: VisionConfig, config: ImageConfig, budget: ImageBudget
) -> tuple[Tensor, tuple[int, int]]:
    """Resize and normalise an image, and cut it into patches.

    Args:
        image: (height, width, 3) uint8 RGB.
        vision: Sizes of patches.
        config: Mean and standard deviation.
        budget: Both of its numbers are set.

    Returns:
        (patches, 3 * patch_size^2) float32, channel first, in the order of `block_order`; and the rows and columns of
        patches.
    """
    patch, merge = vision.patch_size, vision.spatial_merge_size
    height, width = smart_resize(image.shape[0], image.shape[1], vision.token_side, budget)
    resized = resize_with_torch(image, width, height, "bicubic")
    pixels = torch.from_numpy(np.ascontiguousarray(resized)).float().div_(255)
    pixels = pixels.sub_(torch.tensor(config.image_mean)).div_(torch.tensor(config.image_std))
    rows, columns = height // patch, width // patch
    blocks = pixels.view(rows // merge, merge, patch, columns // merge, merge, patch, 3)
    return blocks.permute(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, -1), (rows, columns)


def block_order(rows: int, columns: int, merge: int) -> tuple[Tensor, Tensor]:
    """Return the row and the column of each patch: blocks of merge x merge in raster order, raster order in each."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")

    def ordered(grid: Tensor) -> Tensor:
        return grid.view(rows // merge, merge, columns // merge, merge).transpose(1, 2).flatten()

    return ordered(row), ordered(column)
