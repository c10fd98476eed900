"""Words on a plate of one colour, made once and then laid on as many frames as have them."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]  # red, green, blue, 0..255
Pixels = tuple[int, int, int, int]  # x0, y0, x1, y1: columns and rows of a rectangle, without the last ones
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@lru_cache(maxsize=1024)
def render_label(text: str, letters: int, ground: Colour, ink: Colour = BLACK) -> np.ndarray:
    """(height, width, 3) uint8: letters of that size in pixels on their ground."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(letters)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    pad = max(2, letters // 5)
    made = Image.new("RGB", (right - left + 2 * pad, bottom - top + 2 * pad), ground)
    ImageDraw.Draw(made).text((pad - left, pad - top), text, fill=ink, font=font)
    return np.asarray(made)


def paste_label(image: np.ndarray, label_image: np.ndarray, place: Pixels) -> None:
    """Put a plate there, in place, on a picture (HxWx3 uint8)."""
    x0, y0, x1, y1 = place
    image[y0:y1, x0:x1] = label_image[: y1 - y0, : x1 - x0]


def place_label(
    image: np.ndarray,
    label_image: np.ndarray,
    places: Sequence[Pixels],
    taken: list[Pixels],
    *,
    avoid: Sequence[Pixels] = (),
) -> None:
    """Put a plate on the first of the places that is not taken, which then is; on the first of all if there is none.

    shunned: what it covers only where that is the way to a place that is not taken.
    """
    place = first_free(places, [*taken, *avoid]) or first_free(places, taken) or places[0]
    paste_label(image, label_image, place)
    taken.append(place)


def first_free(places: Sequence[Pixels], taken: Sequence[Pixels]) -> Pixels | None:
    """The first of the places that has nothing in common with any that is taken."""
    return next((place for place in places if not any(_meet(place, other) for other in taken)), None)


def label_rect(image: np.ndarray, label_image: np.ndarray, left: int, bottom: int) -> Pixels:
    """Where a plate lies whose lower left corner is there, but for what it is moved so that it stays in the picture."""
    (height, width), (high, wide) = image.shape[:2], label_image.shape[:2]
    x, y = max(0, min(left, width - wide)), max(0, min(bottom, height) - high)
    return x, y, min(x + wide, width), min(y + high, height)


def label_positions(image: np.ndarray, label_image: np.ndarray, box: Pixels) -> list[Pixels]:
    """Where a plate can lie that names a box: above it or below, right or left, or in it; the best place first."""
    (x0, y0, x1, y1), (high, wide) = box, label_image.shape[:2]
    corners = (
        *((x0, y0), (x0, y1 + high)),
        *((x1 - wide, y0), (x1 - wide, y1 + high)),
        *((x1, y0 + high), (x0 - wide, y0 + high)),
        *((x0, y0 + high), (x0, y1)),
    )
    return [label_rect(image, label_image, *corner) for corner in corners]


def _meet(a: Pixels, b: Pixels) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def contrast(colour: Colour) -> Colour:
    """Black or white, whichever is read more easily on it."""
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else WHITE


def to_ascii(text: str) -> str:
    """In letters that Pillow's built-in font has: accents are left out, and a text in other letters altogether."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = " ".join("".join(letters).split())
    return plain if plain.isascii() else ""
