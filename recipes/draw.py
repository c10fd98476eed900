"""Marking boxes and points in a picture, each with its label, so that a person sees what was found."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.contract import Box, Point
from recipes.regions import Region
from recipes.text_labels import (
    Colour,
    Pixels,
    contrast,
    label_positions,
    label_rect,
    place_label,
    render_label,
    to_ascii,
)

# Far apart for most eyes (Okabe & Ito 2008, Color Universal Design), without their black.
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
LINE = 1 / 250  # of the picture's shorter side
TEXT = 1 / 28
MIN_LINE, MIN_TEXT = 2, 11  # pixels


def draw(
    image: np.ndarray, found: Sequence[Box | Region | Point], colours: Mapping[str, Colour] | None = None
) -> np.ndarray:
    """A copy of the picture (HxWx3 uint8 RGB) with the boxes outlined and the points dotted, labels beside them.

    Lines and letters grow with the picture. A label always has the same colour, if `colours` gives it no other. Labels
    cover neither each other nor a point where there is room. One in letters that Pillow's built-in font lacks (any but
    Latin ones) is left out.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    side = min(picture.size)
    line, letters = max(MIN_LINE, round(side * LINE)), max(MIN_TEXT, round(side * TEXT))
    paints = [(colours or {}).get(one.label) or colour_of(one.label) for one in found]
    places = [
        _outline(canvas, picture.size, one, colour=colour, line=line)
        if not isinstance(one, Point)
        else _dot(canvas, picture.size, one, colour=colour, line=line)
        for one, colour in zip(found, paints, strict=True)
    ]
    marked = np.array(picture)
    dots = [place for one, place in zip(found, places, strict=True) if isinstance(one, Point)]
    taken: list[Pixels] = []
    for one, colour, place in zip(found, paints, places, strict=True):
        if text := _legend(one):
            label_image = render_label(text, letters, colour, contrast(colour))
            beside = _places_by_dot if isinstance(one, Point) else label_positions
            place_label(marked, label_image, beside(marked, label_image, place), taken, avoid=dots)
    return marked


def colour_of(label: str) -> Colour:
    """The same for the same label, on every machine."""
    return COLOURS[_place_of(label)]


def colours_of(labels: Iterable[str]) -> dict[str, Colour]:
    """One for each, no two alike while there are enough: its own if none before it has that, else the next free one."""
    chosen: dict[str, Colour] = {}
    for label in dict.fromkeys(labels):
        place = _place_of(label)
        first_free = (colour for colour in (*COLOURS[place:], *COLOURS[:place]) if colour not in chosen.values())
        chosen[label] = next(first_free, COLOURS[place])
    return chosen


def _place_of(label: str) -> int:
    return zlib.crc32(label.encode("utf-8", "surrogatepass")) % len(COLOURS)


def _outline(canvas: Any, size: tuple[int, int], box: Box | Region, *, colour: Colour, line: int) -> Pixels:
    """Draws it, as far as it lies in the picture; what it goes round."""
    (x0, x1), (y0, y1) = (
        sorted(_pixel(part, length) for part in ends)
        for ends, length in zip(((box.x_min, box.x_max), (box.y_min, box.y_max)), size, strict=True)
    )
    canvas.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    return x0, y0, x1 + 1, y1 + 1


def _dot(canvas: Any, size: tuple[int, int], point: Point, *, colour: Colour, line: int) -> Pixels:
    """Draws it, with a rim that shows on any ground; what it covers."""
    x, y = _pixel(point.x, size[0]), _pixel(point.y, size[1])
    canvas.circle((x, y), 2 * line, fill=colour, outline=contrast(colour), width=max(1, line // 2))
    return x - 2 * line, y - 2 * line, x + 2 * line + 1, y + 2 * line + 1


def _places_by_dot(image: np.ndarray, label_image: np.ndarray, dot: Pixels) -> list[Pixels]:
    """Where a plate can lie that names a point: beside it, a little higher or lower, or above or below it."""
    (x0, y0, x1, y1), (high, wide), gap = dot, label_image.shape[:2], (dot[2] - dot[0]) // 4
    right, left, over, middle = x1 + gap, x0 - gap - wide, (x0 + x1 - wide) // 2, (y0 + y1) // 2
    corners = (
        *((right, middle), (right, middle + high)),
        *((left, middle), (left, middle + high)),
        *((over, y0 - gap), (over, y1 + gap + high)),
    )
    return [label_rect(image, label_image, *corner) for corner in corners]


def _pixel(part: float, length: int) -> int:
    return min(max(int(part * length), 0), length - 1)


def _legend(one: Box | Region | Point) -> str:
    score = f"{one.score:.2f}" if not isinstance(one, Point) and one.score is not None else ""
    return f"{to_ascii(one.label)} {score}".strip()
