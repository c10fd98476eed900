"""Text labels on a solid background: rendered once with Pillow, cached, and pasted onto frames."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]  # red, green, blue, 0..255
Pixels = tuple[int, int, int, int]  # rectangle x0, y0, x1, y1 in pixels; x1 and y1 are exclusive
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@lru_cache(maxsize=1024)
def render_label(text: str, font_size: int, background: Colour, foreground: Colour = BLACK) -> np.ndarray:
    """Render a line of text.

    Args:
        text: The text.
        font_size: Pixels.
        background: Colour of the label.
        foreground: Colour of the letters.

    Returns:
        (height, width, 3) uint8 RGB; cached, so do not change it.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(font_size)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    padding = max(2, font_size // 5)
    label = Image.new("RGB", (right - left + 2 * padding, bottom - top + 2 * padding), background)
    ImageDraw.Draw(label).text((padding - left, padding - top), text, fill=foreground, font=font)
    return np.asarray(label)


def paste_label(image: np.ndarray, label_image: np.ndarray, rect: Pixels) -> None:
    """Paste a label into a rectangle of an image (HxWx3, uint8), in place."""
    x0, y0, x1, y1 = rect
    image[y0:y1, x0:x1] = label_image[: y1 - y0, : x1 - x0]


class TakenPixels:
    """The pixels of an image that labels have taken; each look-up costs the same however many labels there are."""

    def __init__(self, image: np.ndarray) -> None:
        self._taken = np.zeros(image.shape[:2], bool)

    def take(self, rects: Sequence[Pixels]) -> Pixels:
        """Take the first free rectangle of those given, all within the image, or the first one if none is free."""
        x0, y0, x1, y1 = rect = next((rect for rect in rects if self._is_free(rect)), rects[0])
        self._taken[y0:y1, x0:x1] = True
        return rect

    def _is_free(self, rect: Pixels) -> bool:
        x0, y0, x1, y1 = rect
        return not self._taken[y0:y1, x0:x1].any()


def place_label(
    image: np.ndarray,
    label_image: np.ndarray,
    rects: Sequence[Pixels],
    occupied: list[Pixels],
    *,
    avoid: Sequence[Pixels] = (),
) -> None:
    """Paste a label into the first free rectangle, or into the first one if none is free.

    Args:
        image: HxWx3, uint8; changed in place.
        label_image: The label.
        rects: Possible rectangles, best first.
        occupied: Rectangles to keep clear; the chosen one is appended.
        avoid: Rectangles to keep clear too, where another free one is left.
    """
    rect = first_free(rects, [*occupied, *avoid]) or first_free(rects, occupied) or rects[0]
    paste_label(image, label_image, rect)
    occupied.append(rect)


def first_free(rects: Sequence[Pixels], occupied: Sequence[Pixels]) -> Pixels | None:
    """Return the first rectangle that overlaps no occupied one; None if there is none."""
    return next((rect for rect in rects if not any(_overlap(rect, other) for other in occupied)), None)


def label_rect(image: np.ndarray, label_image: np.ndarray, left: int, bottom: int) -> Pixels:
    """Return the rectangle of a label with its lower left corner at a pixel, moved so that it stays in the image."""
    (height, width), (label_height, label_width) = image.shape[:2], label_image.shape[:2]
    x, y = max(0, min(left, width - label_width)), max(0, min(bottom, height) - label_height)
    return x, y, min(x + label_width, width), min(y + label_height, height)


def label_positions(image: np.ndarray, label_image: np.ndarray, box: Pixels) -> list[Pixels]:
    """Return rectangles for the label of a box, best first: above it, below, right, left, or inside."""
    (x0, y0, x1, y1), (label_height, label_width) = box, label_image.shape[:2]
    corners = (
        *((x0, y0), (x0, y1 + label_height)),
        *((x1 - label_width, y0), (x1 - label_width, y1 + label_height)),
        *((x1, y0 + label_height), (x0 - label_width, y0 + label_height)),
        *((x0, y0 + label_height), (x0, y1)),
    )
    return [label_rect(image, label_image, *corner) for corner in corners]


def _overlap(a: Pixels, b: Pixels) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def contrast(colour: Colour) -> Colour:
    """Return black or white, whichever is more readable on a colour."""
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else WHITE


def to_ascii(text: str) -> str:
    """Return a text in letters that Pillow's built-in font has: without accents; "" if other letters are left."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = " ".join("".join(letters).split())
    return plain if plain.isascii() else ""
