"""Preprocessing: an image to patches at its native resolution (NaFlex), split into tiles if it is large.

Resizing rounds the sides to whole tokens and does not keep the aspect ratio beyond that. The rules are those of
transformers' `Lfm2VlImageProcessor`.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from engine.lfm2vl.config import Config, ImageConfig
from engine.resize import Filter, check_image, resize_with_torch

Size = tuple[int, int]  # height and width, in pixels or in patches

IMAGE, IMAGE_START, IMAGE_END, THUMBNAIL = "<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"


@dataclass(frozen=True)
class Tiling:
    """How an image is split.

    Attributes:
        rows: Of tiles; 1 with one column: the image is not split.
        columns: Of tiles.
        thumbnail: Whether the tiles are followed by the whole image.
        whole: Size of the whole image in pixels, as the thumbnail or alone.
        tile_size: Side of a tile in pixels.
    """

    rows: int
    columns: int
    thumbnail: bool
    whole: Size
    tile_size: int

    @property
    def tiles(self) -> int:
        """The number of tiles; 0: the image is not split."""
        return self.rows * self.columns if self.rows * self.columns > 1 else 0

    @property
    def sizes(self) -> list[Size]:
        """Sizes of the sub-images in pixels: the tiles, row by row, then the whole image."""
        sizes = [(self.tile_size, self.tile_size)] * self.tiles
        return [*sizes, self.whole] if self.thumbnail or not sizes else sizes

    def tokens(self, token_size: int) -> list[int]:
        """Return the number of tokens of each sub-image."""
        return [height // token_size * (width // token_size) for height, width in self.sizes]

    def placeholder(self, token_size: int, marked: bool = True) -> str:
        """Return the text that stands for the image in a prompt, with an <image> for each of its tokens.

        Args:
            token_size: Side of a token in pixels.
            marked: Whether start, end, tiles and thumbnail are marked.
        """
        parts = [IMAGE * count for count in self.tokens(token_size)]
        if not marked:
            return "".join(parts)
        if self.tiles:
            places = product(range(1, self.rows + 1), range(1, self.columns + 1))
            marks = [*(f"<|img_row_{row}_col_{column}|>" for row, column in places), THUMBNAIL]
            parts = [mark + part for mark, part in zip(marks, parts, strict=False)]
        return "".join([IMAGE_START, *parts, IMAGE_END])


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches of one image.

    Attributes:
        pixels: Of each sub-image, (rows * columns, patch * patch * 3) float32, -1..1, channels last.
        grids: Rows and columns of each.
        tiling: How the image was split.
    """

    pixels: list[Tensor]
    grids: list[Size]
    tiling: Tiling


def whole_size(size: Size, images: ImageConfig, token_size: int) -> Size:
    """Return the size that a whole image is resized to: in whole tokens, within the limits of tokens."""
    height, width = size
    least, most = (tokens * token_size**2 for tokens in (images.min_image_tokens, images.max_image_tokens))
    rounded = [max(token_size, round(side / token_size) * token_size) for side in size]
    if math.prod(rounded) > most:
        shrink = math.sqrt(height * width / most)
        rounded = [max(token_size, math.floor(side / shrink / token_size) * token_size) for side in size]
    elif math.prod(rounded) < least:
        grow = math.sqrt(least / (height * width))
        rounded = [math.ceil(side * grow / token_size) * token_size for side in size]
    return rounded[0], rounded[1]


def make_tiling(size: Size, config: Config) -> Tiling:
    """Return how an image of this height and width in pixels is split."""
    images, token_size = config.image_config, config.token_size
    whole = whole_size(size, images, token_size)
    if not _is_large(size, config):
        return Tiling(1, 1, False, whole, images.tile_size)
    rows, columns = _tile_grid(size, images)
    return Tiling(rows, columns, images.use_thumbnail and rows * columns > 1, whole, images.tile_size)


def make_patches(image: np.ndarray, config: Config) -> Patches:
    """Cut an image into sub-images, and these into patches.

    Args:
        image: (height, width, 3) uint8 RGB.
        config: Of the model.

    Raises:
        ValueError: The array is of another shape or type.
    """
    check_image(image)
    filter: Filter = "bicubic" if config.image_config.resample == 3 else "bilinear"
    tiling, patch = make_tiling(image.shape[:2], config), config.vision_config.patch_size
    side = tiling.tile_size
    parts: list[np.ndarray] = []
    if tiling.tiles:
        large = resize_with_torch(image, tiling.columns * side, tiling.rows * side, filter)
        corners = product(range(0, large.shape[0], side), range(0, large.shape[1], side))
        parts += [large[y : y + side, x : x + side] for y, x in corners]
    if tiling.thumbnail or not parts:
        parts.append(resize_with_torch(image, tiling.whole[1], tiling.whole[0], filter))
    grids = [(part.shape[0] // patch, part.shape[1] // patch) for part in parts]
    return Patches([_patchify(part, patch) for part in parts], grids, tiling)


def _is_large(size: Size, config: Config) -> bool:
    """Whether an image is split."""
    images, patch = config.image_config, config.vision_config.patch_size
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


def _patchify(image: np.ndarray, patch: int) -> Tensor:
    """Return the patches of an image, (patches, patch * patch * 3) float32, -1..1."""
    rows, columns = image.shape[0] // patch, image.shape[1] // patch
    squares = torch.from_numpy(image).view(rows, patch, columns, patch, 3).transpose(1, 2)
    return squares.reshape(rows * columns, -1).float().div_(127.5).sub_(1)
