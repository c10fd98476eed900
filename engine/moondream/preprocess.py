"""From a picture to the crops that the encoder sees, and from the crops' features back to one map.

The whole picture is squeezed into one crop, and, where it is larger than that, seen again in overlapping windows. A
window is a crop without its margins; margins are seen twice, and kept only along the picture's border.
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
    """pixels: (n, S, S, 3) uint8, the global crop first, then the windows, row by row.

    tiling: rows and columns of windows. With (1, 1) the window is the global crop, which is held only once (n = 1).
    """

    pixels: np.ndarray
    tiling: tuple[int, int]


def select_tiling(height: int, width: int, window: int, max_crops: int) -> tuple[int, int]:
    """Rows and columns of windows for a picture without its margins (sizes in pixels, also below 1).

    Close to the picture's aspect. A picture that is far longer than wide gets up to sqrt(max_crops * length / window)
    windows, more than max_crops, as in the reference.
    """
    if height <= window or width <= window:
        return 1, 1
    least_rows, least_columns = math.ceil(height / window), math.ceil(width / window)
    if least_rows * least_columns > max_crops:
        ratio = math.sqrt(max_crops / (least_rows * least_columns))
        return max(1, math.floor(least_rows * ratio)), max(1, math.floor(least_columns * ratio))
    rows = max(math.floor(math.sqrt(max_crops * height / width)), least_rows)
    columns = max(math.floor(math.sqrt(max_crops * width / height)), least_columns)
    if rows * columns > max_crops:
        if columns > rows:
            columns = math.floor(max_crops / rows)
        else:
            rows = math.floor(max_crops / columns)
    return max(1, rows), max(1, columns)


def tiling(vision: VisionConfig, height: int, width: int, max_crops: int) -> tuple[int, int]:
    """Rows and columns of windows for a picture of this size; (1, 1) for max_crops 1: the global crop is enough."""
    if max_crops == 1:
        return 1, 1
    margin, window = _margin_and_window(vision)
    return select_tiling(height - 2 * margin, width - 2 * margin, window, max_crops)


def make_crops(image: np.ndarray, vision: VisionConfig, max_crops: int, resize: Resize) -> Crops:
    """The crops of an HxWx3 uint8 picture; ValueError from `resize` for anything else."""
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
    """(n, S, S, 3) uint8 to (n, 3, S, S) in -1..1; each of the three steps is rounded to dtype, as in the reference."""
    values = torch.as_tensor(pixels).permute(0, 3, 1, 2).to(dtype, memory_format=torch.contiguous_format)
    return values.div_(255).sub_(0.5).div_(0.5)


def stitch(features: torch.Tensor, tiling: tuple[int, int], margin: int) -> torch.Tensor:
    """Features of the windows, (rows * columns, grid, grid, E), as one map (H, W, E) that has each place once.

    margin: in patches; a window keeps it only on the picture's border.
    """
    rows, columns = tiling
    grid = features.shape[1]

    def kept(place: int, count: int) -> slice:
        return slice(margin if place else 0, grid - margin if place < count - 1 else grid)

    def band(row: int) -> torch.Tensor:
        windows = features[row * columns : (row + 1) * columns, kept(row, rows)]
        return torch.cat([window[:, kept(column, columns)] for column, window in enumerate(windows)], dim=1)

    return torch.cat([band(row) for row in range(rows)])


def pool(features: torch.Tensor, grid: int) -> torch.Tensor:
    """A map (H, W, E) as (grid, grid, E): cell k is the mean of floor(k H / grid) up to ceil((k + 1) H / grid)."""
    return adaptive_avg_pool2d(features.permute(2, 0, 1), grid).permute(1, 2, 0)


def _margin_and_window(vision: VisionConfig) -> tuple[int, int]:
    """Pixels along a side."""
    margin = vision.enc_patch_size * vision.overlap_margin
    return margin, vision.crop_size - 2 * margin
