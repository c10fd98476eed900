"""Marking boxes and points in a picture, each with its label, so that a person sees what was found."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.contract import Box, Point
from recipes.plates import Colour, contrast, latin

# Far apart for most eyes (Okabe & Ito 2008, Color Universal Design), without their black.
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
LINE = 1 / 250  # of the picture's shorter side
TEXT = 1 / 28
LEAST_LINE, LEAST_TEXT = 2, 11  # pixels


def draw(image: np.ndarray, found: Sequence[Box | Point], colours: Mapping[str, Colour] | None = None) -> np.ndarray:
    """A copy of the picture (HxWx3 uint8 RGB) with the boxes outlined and the points dotted, labels beside them.

    Lines and letters grow with the picture. A label always has the same colour, if `colours` gives it no other. A label
    in letters that Pillow's built-in font lacks (any but Latin ones) is left out.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    side = min(picture.size)
    line = max(LEAST_LINE, round(side * LINE))
    font = ImageFont.load_default(max(LEAST_TEXT, round(side * TEXT)))
    for one in found:
        colour = (colours or {}).get(one.label) or colour_of(one.label)
        if isinstance(one, Box):
            corner = _outline(canvas, picture.size, one, colour, line)
        else:
            corner = _dot(canvas, picture.size, one, colour, line)
        _write(canvas, picture.size, corner, _legend(one), colour, font)
    return np.asarray(picture)


def colour_of(label: str) -> Colour:
    """The same for the same label, on every machine."""
    return COLOURS[_place_of(label)]


def colours_of(labels: Iterable[str]) -> dict[str, Colour]:
    """One for each, no two alike while there are enough: its own if none before it has that, else the next free one."""
    chosen: dict[str, Colour] = {}
    for label in dict.fromkeys(labels):
        place = _place_of(label)
        free = (colour for colour in (*COLOURS[place:], *COLOURS[:place]) if colour not in chosen.values())
        chosen[label] = next(free, COLOURS[place])
    return chosen


def _place_of(label: str) -> int:
    return zlib.crc32(label.encode("utf-8", "surrogatepass")) % len(COLOURS)


def _outline(canvas: Any, size: tuple[int, int], box: Box, colour: Colour, line: int) -> tuple[int, int]:
    """Draws it, as far as it lies in the picture; where its label goes."""
    (x0, x1), (y0, y1) = (
        sorted(_pixel(part, length) for part in ends)
        for ends, length in zip(((box.x_min, box.x_max), (box.y_min, box.y_max)), size, strict=True)
    )
    canvas.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    return x0, y0


def _dot(canvas: Any, size: tuple[int, int], point: Point, colour: Colour, line: int) -> tuple[int, int]:
    """Draws it, with a rim that shows on any ground; where its label goes."""
    centre = _pixel(point.x, size[0]), _pixel(point.y, size[1])
    canvas.circle(centre, 2 * line, fill=colour, outline=contrast(colour), width=max(1, line // 2))
    return centre[0] + 3 * line, centre[1]


def _pixel(part: float, length: int) -> int:
    return min(max(int(part * length), 0), length - 1)


def _legend(one: Box | Point) -> str:
    score = f"{one.score:.2f}" if isinstance(one, Box) and one.score is not None else ""
    return f"{latin(one.label)} {score}".strip()


def _write(canvas: Any, size: tuple[int, int], at: tuple[int, int], text: str, colour: Colour, font: Any) -> None:
    """The text on a ground of its colour, above and right of `at`; moved so that it stays in the picture."""
    if not text:
        return
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    pad = max(1, round(font.size / 6))
    wide, high = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(at[0], size[0] - int(wide)))
    y = max(0, min(at[1] - int(high), size[1] - int(high)))
    canvas.rectangle((x, y, x + wide, y + high), fill=colour)
    canvas.text((x + pad - left, y + pad - top), text, fill=contrast(colour), font=font)
