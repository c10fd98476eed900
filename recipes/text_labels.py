"""Text labels on a solid background: rendered once with Pillow, cached, and pasted onto frames."""

import unicodedata
from collections.abc import Iterable, Sequence
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
    """The pixels of an image that labels have taken, and those that they avoid where there is room.

    Each look-up costs the same however many there are.
    """

    def __init__(self, image: np.ndarray, taken: Iterable[Pixels] = (), avoided: Iterable[Pixels] = ()) -> None:
        """Begin with the rectangles that are taken, and those to avoid."""
        self._taken, self._avoided = (np.zeros(image.shape[:2], bool) for _ in range(2))
        for pixels, rects in ((self._taken, taken), (self._avoided, avoided)):
            for rect in rects:
                _part(pixels, rect)[...] = True

    def take(self, rects: Sequence[Pixels]) -> Pixels:
        """Take the first free rectangle of those given, best first, or the first one if none is free."""
        rect = self.take_free(rects) or rects[0]
        _part(self._taken, rect)[...] = True
        return rect

    def take_free(self, rects: Sequence[Pixels]) -> Pixels | None:
        """Take the first free rectangle of those given, best first; None if none is free."""
        free = [rect for rect in rects if not _part(self._taken, rect).any()]
        rect = next((rect for rect in free if not _part(self._avoided, rect).any()), free[0] if free else None)
        if rect:
            _part(self._taken, rect)[...] = True
        return rect


def _part(pixels: np.ndarray, rect: Pixels) -> np.ndarray:
    x0, y0, x1, y1 = (max(0, side) for side in rect)
    return pixels[y0:y1, x0:x1]


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


def contrast(colour: Colour) -> Colour:
    """Return black or white, whichever is more readable on a colour."""
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else WHITE


def to_ascii(text: str) -> str:
    """Return a text in letters that Pillow's built-in font has: without accents; "" if other letters are left."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = " ".join("".join(letters).split())
    return plain if plain.isascii() else ""
