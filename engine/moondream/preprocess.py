"""Preprocessing: an image to overlapping crops for the vision encoder, and the crops' features to one feature map.

The global crop is the whole image, resized. A larger image is also covered by overlapping crops. A window is a crop
without its margins: margins overlap the neighbours, and their features are used only along the image's border.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from engine.moondream.config import VisionConfig
from engine.resize import Resize


@dataclass(frozen=True, eq=False)
class Crops:
    """The crops of one image.

    Attributes:
        pixels: (n, S, S, 3) uint8 RGB, the global crop first, then the others, row by row.
        tiling: Rows and columns of windows. With (1, 1) there is only the global crop (n = 1).
    """

    pixels: np.ndarray
    tiling: tuple[int, int]


def select_tiling(height: int, width: int, window: int, max_crops: int) -> tuple[int, int]:
    """Choose rows and columns of windows close to an image's aspect ratio.

    As in the reference, a very elongated image gets up to sqrt(max_crops * length / window) windows, which may exceed
    max_crops.

    Args:
        height: Of the image without its margins, in pixels; may be below 1.
        width: As height.
        window: Side of a window, in pixels.
        max_crops: Most windows.
    """
    if height <= window or width <= window:
        return 1, 1
    min_rows, min_columns = math.ceil(height / window), math.ceil(width / window)
    if min_rows * min_columns > max_crops:
        ratio = math.sqrt(max_crops / (min_rows * min_columns))
        return max(1, math.floor(min_rows * ratio)), max(1, math.floor(min_columns * ratio))
    rows = max(math.floor(math.sqrt(max_crops * height / width)), min_rows)
    columns = max(math.floor(math.sqrt(max_crops * width / height)), min_columns)
    if rows * columns > max_crops:
        if columns > rows:
            columns = math.floor(max_crops / rows)
        else:
            rows = math.floor(max_crops / columns)
    return max(1, rows), max(1, columns)


def tiling(vision: VisionConfig, height: int, width: int, max_crops: int) -> tuple[int, int]:
    """Return rows and columns of windows for an image of this size in pixels; (1, 1): the global crop only."""
    if max_crops == 1:
        return 1, 1
    margin, window = _margin_and_window(vision)
    return select_tiling(height - 2 * margin, width - 2 * margin, window, max_crops)


def make_crops(image: np.ndarray, vision: VisionConfig, max_crops: int, resize: Resize) -> Crops:
    """Cut an image into crops.

    Args:
        image: (height, width, 3) uint8 RGB.
        vision: Sizes of crops and margins.
        max_crops: Most windows, see `select_tiling`.
        resize: See `engine.resize`.

    Raises:
        ValueError: The array is of another shape or type.
    """
    size = vision.crop_size
    whole = resize(image, size, size)
    height, width = image.shape[:2]
    rows, columns = tiling(vision, height, width, max_crops)
    if (rows, columns) == (1, 1):
        return Crops(whole[None], (1, 1))
    margin, window = _margin_and_window(vision)
    large = resize(image, columns * window + 2 * margin, rows * window + 2 * margin)
    corners = [(window * row, window * column) for row in range(rows) for column in range(columns)]
    return Crops(np.stack([whole, *(large[y : y + size, x : x + size] for y, x in corners)]), (rows, columns))


def normalize_pixels(pixels: np.ndarray | torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Scale pixels to -1..1.

    Args:
        pixels: (n, S, S, 3) uint8.
        dtype: Of the result; each of the three steps is rounded to it, as in the reference.

    Returns:
        (n, 3, S, S).
    """
    values = torch.as_tensor(pixels).permute(0, 3, 1, 2).to(dtype, memory_format=torch.contiguous_format)
    return values.div_(255).sub_(0.5).div_(0.5)


def stitch(features: torch.Tensor, tiling: tuple[int, int], margin: int) -> torch.Tensor:
    """Join the features of overlapping crops to one feature map.

    Args:
        features: (rows * columns, grid, grid, E).
        tiling: Rows and columns.
        margin: In patches; dropped except along the image's border.

    Returns:
        (H, W, E), in which each patch of the image occurs once.
    """
    rows, columns = tiling
    grid = features.shape[1]

    def inner(index: int, count: int) -> slice:
        return slice(margin if index else 0, grid - margin if index < count - 1 else grid)

    def band(row: int) -> torch.Tensor:
        windows = features[row * columns : (row + 1) * columns, inner(row, rows)]
        return torch.cat([window[:, inner(column, columns)] for column, window in enumerate(windows)], dim=1)

    return torch.cat([band(row) for row in range(rows)])


def pool(features: torch.Tensor, grid: int) -> torch.Tensor:
    """Apply adaptive average pooling: row k is the mean of rows floor(k H / grid) to ceil((k + 1) H / grid) - 1.

    Args:
        features: (H, W, E).
        grid: Side of the result.

    Returns:
        (grid, grid, E).
    """
    return adaptive_avg_pool2d(features.permute(2, 0, 1), grid).permute(1, 2, 0)


def _margin_and_window(vision: VisionConfig) -> tuple[int, int]:
    """Return the margin and the side of a window, in pixels."""
    margin = vision.enc_patch_size * vision.overlap_margin
    return margin, vision.crop_size - 2 * margin
