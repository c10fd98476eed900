"""The measurements of `bench dial` as a plot: image tokens against time, and against quality where it was measured."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from mdtool.jobs.bench.dial import DialPoint

WIDTH, HEIGHT = 960, 560
LEFT, TOP, RIGHT, BOTTOM = 84, 96, 84, 84  # margins
SCALE = 3  # it is drawn so much larger, then reduced, which smooths the lines
INK, GRID = "#222222", "#dddddd"
FIRST, LAST, QUALITY = "#0072b2", "#d55e00", "#009e73"  # told apart by the colour-blind (Okabe and Ito 2008)


@dataclass(frozen=True)
class _Axis:
    """A scale from values to pixels, and the values that are marked."""

    place: Callable[[float], float]
    marks: Sequence[tuple[float, str]]


def plot(points: Sequence[DialPoint], answer_tokens: int, model: str) -> Image.Image:
    """Return the measurements as a plot.

    Args:
        points: Of all settings.
        answer_tokens: Length of the timed answer.
        model: Its name, for the title.
    """
    canvas = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = _Pen(ImageDraw.Draw(canvas))
    # of settings that are the same number of tokens, such as the default, the first stands for all
    unique: dict[int | str, DialPoint] = {}
    for point in points:
        unique.setdefault(point.image_tokens or point.setting, point)
    points = sorted(unique.values(), key=lambda point: point.image_tokens or 0)
    across, seconds = _across(points), _seconds(max(point.answer_seconds for point in points))
    for value, text in seconds.marks:
        draw.line([(LEFT, seconds.place(value)), (WIDTH - RIGHT, seconds.place(value))], GRID, 1)
        draw.text(LEFT - 10, seconds.place(value), text, "rm")
    for value, text in across.marks:
        draw.line([(across.place(value), TOP), (across.place(value), HEIGHT - BOTTOM + 5)], GRID, 1)
        draw.text(across.place(value), HEIGHT - BOTTOM + 10, text, "ma")
    draw.line([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], INK, 2)
    curves = [
        ("first token", FIRST, [seconds.place(point.first_token_seconds) for point in points]),
        (f"{answer_tokens} tokens", LAST, [seconds.place(point.answer_seconds) for point in points]),
    ]
    if all(point.quality is not None for point in points):
        quality = _Axis(_linear(0, 1), [(i / 5, f"{i / 5:.1f}") for i in range(6)])
        draw.line([(WIDTH - RIGHT, TOP), (WIDTH - RIGHT, HEIGHT - BOTTOM)], INK, 2)
        for value, text in quality.marks:
            draw.text(WIDTH - RIGHT + 10, quality.place(value), text, "lm", colour=QUALITY)
        draw.text(WIDTH - RIGHT, TOP - 24, "quality", "mm", colour=QUALITY)
        curves.append(("quality (right)", QUALITY, [quality.place(point.quality or 0) for point in points]))
    columns = [across.place(value) for value in _positions(points)]
    for _, colour, rows in curves:
        corners = list(zip(columns, rows, strict=True))
        draw.line(corners, colour, 3)
        for corner in corners:
            draw.dot(*corner, colour)
    draw.text(LEFT, 22, f"{model}: what an image costs", "lm", size=22)
    draw.text(LEFT, TOP - 24, "seconds", "mm")
    x: float = LEFT + 110
    for name, colour, _ in curves:
        draw.line([(x, TOP - 24), (x + 28, TOP - 24)], colour, 3)
        draw.dot(x + 14, TOP - 24, colour)
        x = draw.text(x + 38, TOP - 24, name, "lm") + 30
    label = "image tokens" if all(point.image_tokens for point in points) else "setting"
    draw.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 22, label, "mm")
    return canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


class _Pen:
    """Draws in unscaled coordinates."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def line(self, corners: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        scaled = [(x * SCALE, y * SCALE) for x, y in corners]
        self._draw.line(scaled, colour, width * SCALE, joint="curve")

    def dot(self, x: float, y: float, colour: str) -> None:
        self._draw.circle((x * SCALE, y * SCALE), 5 * SCALE, colour)

    def text(self, x: float, y: float, text: str, anchor: str, *, colour: str = INK, size: int = 15) -> float:
        """Write a text; return where it ends. The anchor is one of Pillow's."""
        font = ImageFont.load_default(size * SCALE)
        self._draw.text((x * SCALE, y * SCALE), text, colour, font, anchor)
        return self._draw.textbbox((x * SCALE, y * SCALE), text, font, anchor)[2] / SCALE


def _positions(points: Sequence[DialPoint]) -> list[float]:
    """Return where the points are on the horizontal axis: by their tokens on a logarithmic scale, or one by one."""
    tokens = [point.image_tokens for point in points]
    return [math.log2(count) for count in tokens if count] if all(tokens) else list(map(float, range(len(points))))


def _across(points: Sequence[DialPoint]) -> _Axis:
    places = _positions(points)
    margin = (max(places) - min(places) or 1) * 0.06
    low, high = min(places) - margin, max(places) + margin
    width = WIDTH - LEFT - RIGHT
    texts = [str(point.image_tokens or point.setting) for point in points]
    marks: list[tuple[float, str]] = []
    for mark in zip(places, texts, strict=True):
        if not marks or (mark[0] - marks[-1][0]) / (high - low) * width > 30:  # so that no two texts touch
            marks.append(mark)
    return _Axis(lambda value: LEFT + (value - low) / (high - low) * width, marks)


def _seconds(longest: float) -> _Axis:
    power = 10 ** math.floor(math.log10(longest / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 6 >= longest)
    count = math.ceil(longest / step)
    digits = max(0, -math.floor(math.log10(step)))
    return _Axis(_linear(0, count * step), [(i * step, f"{i * step:.{digits}f}") for i in range(count + 1)])


def _linear(low: float, high: float) -> Callable[[float], float]:
    height = HEIGHT - TOP - BOTTOM
    return lambda value: HEIGHT - BOTTOM - (value - low) / (high - low) * height
