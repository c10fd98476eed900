"""Words on a plate of one colour, made once and then laid on as many frames as have them."""

import unicodedata
from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]  # red, green, blue, 0..255
Pixels = tuple[int, int, int, int]  # x0, y0, x1, y1: columns and rows of a rectangle, without the last ones
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@lru_cache(maxsize=1024)
def plate(text: str, letters: int, ground: Colour, ink: Colour = BLACK) -> np.ndarray:
    """(height, width, 3) uint8: letters of that size in pixels on their ground."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(letters)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    pad = max(2, letters // 5)
    made = Image.new("RGB", (right - left + 2 * pad, bottom - top + 2 * pad), ground)
    ImageDraw.Draw(made).text((pad - left, pad - top), text, fill=ink, font=font)
    return np.asarray(made)


def lay(image: np.ndarray, words: np.ndarray, left: int, bottom: int) -> Pixels:
    """Put a plate with its lower left corner there, moved so that it stays in the picture (HxWx3 uint8), in place.

    What it covers is returned.
    """
    x0, y0, x1, y1 = covered = place_of(image, words, left, bottom)
    image[y0:y1, x0:x1] = words[: y1 - y0, : x1 - x0]
    return covered


def place_of(image: np.ndarray, words: np.ndarray, left: int, bottom: int) -> Pixels:
    """What `lay` would cover."""
    (height, width), (high, wide) = image.shape[:2], words.shape[:2]
    x, y = max(0, min(left, width - wide)), max(0, min(bottom, height) - high)
    return x, y, min(x + wide, width), min(y + high, height)


def contrast(colour: Colour) -> Colour:
    """Black or white, whichever is read more easily on it."""
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else WHITE


def latin(text: str) -> str:
    """In letters that Pillow's built-in font has: accents are left out, and a text in other letters altogether."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = " ".join("".join(letters).split())
    return plain if plain.isascii() else ""
