"""Charts as images: axes, lines, dots and texts, drawn by Pillow."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 960, 560
LEFT, TOP, RIGHT, BOTTOM = 84, 96, 84, 84  # margins
SCALE = 3  # it is drawn so much larger, then reduced, which smooths the lines
INK, GRID = "#222222", "#dddddd"
# Told apart by the colour-blind (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels, and the values that are marked."""

    place: Callable[[float], float]
    marks: Sequence[tuple[float, str]]


class Chart:
    """A chart that is drawn in pixels of its final size."""

    def __init__(self) -> None:
        self._canvas = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
        self._draw = ImageDraw.Draw(self._canvas)

    def image(self) -> Image.Image:
        """Return the chart."""
        return self._canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)

    def axes(self, across: Axis, up: Axis) -> None:
        """Draw two axes, with a line of the grid and a text at each mark."""
        for value, text in up.marks:
            self.line([(LEFT, up.place(value)), (WIDTH - RIGHT, up.place(value))], GRID, 1)
            self.text(LEFT - 10, up.place(value), text, "rm")
        for value, text in across.marks:
            self.line([(across.place(value), TOP), (across.place(value), HEIGHT - BOTTOM + 5)], GRID, 1)
            self.text(across.place(value), HEIGHT - BOTTOM + 10, text, "ma")
        self.line([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], INK, 2)

    def line(self, corners: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        """Draw a line through corners."""
        scaled = [(x * SCALE, y * SCALE) for x, y in corners]
        self._draw.line(scaled, colour, width * SCALE, joint="curve")

    def dot(self, x: float, y: float, colour: str) -> None:
        """Draw a dot."""
        self._draw.circle((x * SCALE, y * SCALE), 5 * SCALE, colour)

    def text(self, x: float, y: float, text: str, anchor: str, *, colour: str = INK, size: int = 15) -> float:
        """Write a text; return where it ends. The anchor is one of Pillow's."""
        font = ImageFont.load_default(size * SCALE)
        self._draw.text((x * SCALE, y * SCALE), text, colour, font, anchor)
        return self._draw.textbbox((x * SCALE, y * SCALE), text, font, anchor)[2] / SCALE


def vertical(low: float, high: float) -> Callable[[float], float]:
    """Return the places of values on the vertical axis, in pixels from the top."""
    height = HEIGHT - TOP - BOTTOM
    return lambda value: HEIGHT - BOTTOM - (value - low) / (high - low) * height


def horizontal(low: float, high: float) -> Callable[[float], float]:
    """Return the places of values on the horizontal axis, in pixels from the left."""
    width = WIDTH - LEFT - RIGHT
    return lambda value: LEFT + (value - low) / (high - low) * width


def rising_axis(longest: float, place: Callable[[float, float], Callable[[float], float]] = vertical) -> Axis:
    """Return an axis from 0 to a round number that `longest` fits in.

    Args:
        longest: The largest value.
        place: Which axis it is, `vertical` or `horizontal`.
    """
    power = 10 ** math.floor(math.log10(longest / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 6 >= longest)
    count = math.ceil(longest / step)
    digits = max(0, -math.floor(math.log10(step)))
    return Axis(place(0, count * step), [(i * step, f"{i * step:.{digits}f}") for i in range(count + 1)])
