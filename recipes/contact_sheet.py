"""A contact sheet: several images with captions side by side on one."""

import math
from collections.abc import Sequence

import numpy as np

from recipes.text_labels import WHITE, render_label

BACKGROUND = (32, 32, 32)
GAP = 8  # pixels between cells and around them
FONT_SIZE = 18  # pixels


def columns_of(count: int) -> int:
    """Return the number of columns of a sheet with so many cells, about as many as rows."""
    return max(1, math.ceil(math.sqrt(count)))


def contact_sheet(cells: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
    """Arrange images row by row, each with a caption above it.

    Args:
        cells: Images (HxWx3, uint8 RGB, of any sizes) with their captions; at least one.

    Returns:
        HxWx3 uint8 RGB.
    """
    columns = columns_of(len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    captions = [render_label(caption or " ", FONT_SIZE, BACKGROUND, WHITE) for _, caption in cells]
    strip = max(caption.shape[0] for caption in captions)
    width = max(image.shape[1] for image, _ in cells)
    heights = [strip + max(image.shape[0] for image, _ in row) for row in rows]
    sheet = np.empty((sum(heights) + GAP * (len(rows) + 1), columns * (width + GAP) + GAP, 3), np.uint8)
    sheet[...] = BACKGROUND
    for number, ((image, _), caption) in enumerate(zip(cells, captions, strict=True)):
        row, column = divmod(number, columns)
        top, left = GAP + sum(heights[:row]) + row * GAP, GAP + column * (width + GAP)
        sheet[top : top + caption.shape[0], left : left + min(width, caption.shape[1])] = caption[:, :width]
        y, x = top + strip, left + (width - image.shape[1]) // 2
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheet
