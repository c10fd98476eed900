"""Draw boxes and points with their labels on a still image."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.contract import Box, Point
from recipes.regions import Region
from recipes.text_labels import (
    Colour,
    Pixels,
    TakenPixels,
    contrast,
    label_positions,
    label_rect,
    paste_label,
    render_label,
    to_ascii,
)

# The colour-blind safe palette of Okabe & Ito 2008, Color Universal Design, without its black.
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
LINE_WIDTH = 1 / 250  # of the image's shorter side
FONT_SIZE = 1 / 28  # of the image's shorter side
MIN_LINE_WIDTH, MIN_FONT_SIZE = 2, 11  # pixels


def draw(
    image: np.ndarray, found: Sequence[Box | Region | Point], colours: Mapping[str, Colour] | None = None
) -> np.ndarray:
    """Draw boxes as outlines and points as dots, with labels next to them.

    Line widths and font size scale with the image. Labels cover neither each other nor a point where there is room.
    Labels in other than Latin letters, which Pillow's built-in font lacks, are left out.

    Args:
        image: HxWx3, uint8 RGB.
        found: Boxes and points in fractions of the image.
        colours: Colours by label; others get `colour_of`.

    Returns:
        A new image.
    """
    from PIL import Image, ImageDraw

    pil_image = Image.fromarray(image)
    canvas = ImageDraw.Draw(pil_image)
    side = min(pil_image.size)
    line_width, font_size = max(MIN_LINE_WIDTH, round(side * LINE_WIDTH)), max(MIN_FONT_SIZE, round(side * FONT_SIZE))
    item_colours = [(colours or {}).get(item.label) or colour_of(item.label) for item in found]
    rects = [
        _outline(canvas, pil_image.size, item, colour=colour, line_width=line_width)
        if not isinstance(item, Point)
        else _dot(canvas, pil_image.size, item, colour=colour, line_width=line_width)
        for item, colour in zip(found, item_colours, strict=True)
    ]
    marked = np.array(pil_image)
    dots = [rect for item, rect in zip(found, rects, strict=True) if isinstance(item, Point)]
    taken = TakenPixels(marked, avoided=dots)
    for item, colour, rect in zip(found, item_colours, rects, strict=True):
        if text := _legend(item):
            label_image = render_label(text, font_size, colour, contrast(colour))
            positions = _label_positions_by_dot if isinstance(item, Point) else label_positions
            paste_label(marked, label_image, taken.take(positions(marked, label_image, rect)))
    return marked


def colour_of(label: str) -> Colour:
    """Return the colour of a label, the same on every machine."""
    return COLOURS[_colour_index(label)]


def colours_of(labels: Iterable[str]) -> dict[str, Colour]:
    """Return colours by label, all different as long as there are enough: `colour_of`, or the next free one."""
    chosen: dict[str, Colour] = {}
    for label in dict.fromkeys(labels):
        index = _colour_index(label)
        candidates = (colour for colour in (*COLOURS[index:], *COLOURS[:index]) if colour not in chosen.values())
        chosen[label] = next(candidates, COLOURS[index])
    return chosen


def _colour_index(label: str) -> int:
    return zlib.crc32(label.encode("utf-8", "surrogatepass")) % len(COLOURS)


def _outline(canvas: Any, size: tuple[int, int], box: Box | Region, *, colour: Colour, line_width: int) -> Pixels:
    """Draw the part of a box inside the image; return its rectangle."""
    (x0, x1), (y0, y1) = (
        sorted(_pixel(fraction, length) for fraction in ends)
        for ends, length in zip(((box.x_min, box.x_max), (box.y_min, box.y_max)), size, strict=True)
    )
    canvas.rectangle((x0, y0, x1, y1), outline=colour, width=line_width)
    return x0, y0, x1 + 1, y1 + 1


def _dot(canvas: Any, size: tuple[int, int], point: Point, *, colour: Colour, line_width: int) -> Pixels:
    """Draw a dot with a rim that makes it visible on any background; return its rectangle."""
    x, y = _pixel(point.x, size[0]), _pixel(point.y, size[1])
    canvas.circle((x, y), 2 * line_width, fill=colour, outline=contrast(colour), width=max(1, line_width // 2))
    return x - 2 * line_width, y - 2 * line_width, x + 2 * line_width + 1, y + 2 * line_width + 1


def _label_positions_by_dot(image: np.ndarray, label_image: np.ndarray, dot: Pixels) -> list[Pixels]:
    """Return rectangles for the label of a point, best first: right, left, above, or below."""
    (x0, y0, x1, y1), (label_height, label_width), gap = dot, label_image.shape[:2], (dot[2] - dot[0]) // 4
    right, left, centred, middle = x1 + gap, x0 - gap - label_width, (x0 + x1 - label_width) // 2, (y0 + y1) // 2
    corners = (
        *((right, middle), (right, middle + label_height)),
        *((left, middle), (left, middle + label_height)),
        *((centred, y0 - gap), (centred, y1 + gap + label_height)),
    )
    return [label_rect(image, label_image, *corner) for corner in corners]


def _pixel(fraction: float, length: int) -> int:
    return min(max(int(fraction * length), 0), length - 1)


def _legend(item: Box | Region | Point) -> str:
    score = f"{item.score:.2f}" if not isinstance(item, Point) and item.score is not None else ""
    return f"{to_ascii(item.label)} {score}".strip()
