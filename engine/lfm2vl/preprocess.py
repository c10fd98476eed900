"""Preprocessing: an image to patches at its native resolution (NaFlex), split into tiles if it is large.

Sides are rounded to whole tokens; the aspect ratio is kept only up to that. The rules are those of transformers'
`Lfm2VlImageProcessor`, to which `within_budget` adds a limit for all of an image.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from engine.contract import ImageBudget
from engine.lfm2vl.config import Config, ImageConfig
from engine.resize import Filter, resize_with_torch

Size = tuple[int, int]  # height and width: in pixels, patches or tokens


@dataclass(frozen=True)
class Tiling:
    """How an image is split.

    Attributes:
        rows: Of tiles; 0: the image is not split.
        columns: Of tiles.
        whole: Size of the whole image in pixels, alone or after the tiles as a thumbnail; None: there is no thumbnail.
    """

    rows: int
    columns: int
    whole: Size | None

    def tokens(self, config: Config) -> int:
        """Return the number of tokens that the image becomes."""
        whole = self.whole or (0, 0)
        return self.rows * self.columns * config.tile_tokens + math.prod(whole) // config.token_size**2


@dataclass(frozen=True, eq=False)
class SubImage:
    """A tile, or the whole image.

    Attributes:
        pixels: (rows * columns, patch * patch * 3) float32, -1..1, channels last.
        grid: Rows and columns of patches.
        mark: Name of the control token before it; "": none.
    """

    pixels: Tensor
    grid: Size
    mark: str = ""


def within_budget(config: Config, budget: ImageBudget) -> Config:
    """Return a config by which no image becomes more tokens than the budget has.

    Tiles and thumbnail share it; where it has no room for two tiles, no image is split. It lowers limits only.
    """
    images, tile, total = config.preprocessor_config, config.tile_tokens, budget.max_tokens or config.max_tokens
    thumbnail = images.use_thumbnail if budget.thumbnail is None else budget.thumbnail
    most = min(images.max_image_tokens, total)
    least = min(budget.min_tokens or images.min_image_tokens, most)
    tiles = min(budget.max_tiles or images.max_tiles, images.max_tiles, (total - thumbnail * least) // tile)
    images = replace(
        images,
        min_image_tokens=least,
        max_image_tokens=most,
        max_tiles=max(tiles, images.min_tiles),
        do_image_splitting=images.do_image_splitting and budget.tiles is not False and tiles >= images.min_tiles,
        use_thumbnail=thumbnail,
        max_total_tokens=total,
    )
    return replace(config, preprocessor_config=images)


def make_tiling(size: Size, config: Config) -> Tiling:
    """Return how an image of this height and width in pixels is split."""
    images = config.preprocessor_config
    rows, columns = _tile_grid(size, images) if _is_large(size, config) else (1, 1)
    if rows * columns == 1:
        return Tiling(0, 0, _whole_size(size, config, config.max_tokens))
    if not images.use_thumbnail:
        return Tiling(rows, columns, None)
    return Tiling(rows, columns, _whole_size(size, config, config.max_tokens - rows * columns * config.tile_tokens))


def split(image: np.ndarray, config: Config) -> list[SubImage]:
    """Cut an image into tiles, row by row, and the thumbnail, or resize it as a whole; then into patches.

    Args:
        image: (height, width, 3) uint8 RGB.
        config: Of the model.
    """
    images, patch = config.preprocessor_config, config.vision_config.patch_size
    filter: Filter = "bicubic" if images.resample == 3 else "bilinear"
    tiling, side = make_tiling(image.shape[:2], config), images.tile_size
    parts: list[SubImage] = []
    if tiling.rows:
        large = resize_with_torch(image, tiling.columns * side, tiling.rows * side, filter)
        for row, column in product(range(tiling.rows), range(tiling.columns)):
            tile = large[row * side : (row + 1) * side, column * side : (column + 1) * side]
            parts.append(_patchify(tile, patch, f"<|img_row_{row + 1}_col_{column + 1}|>"))
    if tiling.whole:
        height, width = tiling.whole
        parts.append(
            _patchify(resize_with_torch(image, width, height, filter), patch, "<|img_thumbnail|>" if parts else "")
        )
    return parts


def _whole_size(size: Size, config: Config, left: int) -> Size:
    """Return the size in pixels of a whole image, within the limits of tokens.

    Args:
        size: Of the image in pixels.
        config: Of the model.
        left: Tokens that are left of the budget. The rule itself, which rounds up where it enlarges and gives each side
            a token at least, may exceed its limits.
    """
    images, side = config.preprocessor_config, config.token_size
    least, most = images.min_image_tokens, min(images.max_image_tokens, left)
    rows, columns = (max(1, round(pixels / side)) for pixels in size)
    if rows * columns > most:
        rows, columns = _reduced(size, side, most)
    elif rows * columns < least:
        grow = math.sqrt(least * side**2 / math.prod(size))
        rows, columns = (math.ceil(pixels * grow / side) for pixels in size)
    if rows * columns > left:
        rows, columns = _reduced(size, side, left)
        rows, columns = min(rows, max(1, left // columns)), min(columns, left)
    return rows * side, columns * side


def _reduced(size: Size, side: int, most: int) -> Size:
    """Return rows and columns of tokens, rounded down, of an image reduced to `most`; a token at least."""
    shrink = math.sqrt(math.prod(size) / (most * side**2))
    rows, columns = (max(1, math.floor(pixels / shrink / side)) for pixels in size)
    return rows, columns


def _is_large(size: Size, config: Config) -> bool:
    """Whether an image is split."""
    images, patch = config.preprocessor_config, config.vision_config.patch_size
    pixels = math.prod(max(patch, round(side / config.token_size) * config.token_size) for side in size)
    limit = images.max_image_tokens * config.token_size**2 * images.max_pixels_tolerance
    return images.do_image_splitting and pixels > limit


def _tile_grid(size: Size, images: ImageConfig) -> Size:
    """Return rows and columns of tiles: the grid of the closest aspect ratio, of the fewest tiles."""
    height, width = size
    counts = range(1, images.max_tiles + 1)
    candidates = sorted(
        ((c, r) for c, r in product(counts, counts) if images.min_tiles <= c * r <= images.max_tiles), key=math.prod
    )
    best, least = (1, 1), math.inf
    for columns, rows in candidates:
        distance = abs(width / height - columns / rows)
        fills_half = width * height > 0.5 * images.tile_size**2 * columns * rows
        if distance < least or (distance == least and fills_half):
            best, least = (rows, columns), distance
    return best


def _patchify(image: np.ndarray, patch: int, mark: str) -> SubImage:
    rows, columns = image.shape[0] // patch, image.shape[1] // patch
    squares = torch.from_numpy(image).view(rows, patch, columns, patch, 3).transpose(1, 2)
    return SubImage(squares.reshape(rows * columns, -1).float().div_(127.5).sub_(1), (rows, columns), mark)
