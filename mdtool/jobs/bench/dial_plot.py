"""The measurements of `bench dial` as a plot: image tokens against time, and against quality where it was measured."""

import math
from collections.abc import Sequence

from PIL import Image

from mdtool.jobs.bench.dial import DialPoint
from mdtool.report.chart import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    INK,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Chart,
    horizontal,
    rising_axis,
    vertical,
)

FIRST, LAST, QUALITY = COLOURS[:3]


def plot(points: Sequence[DialPoint], answer_tokens: int, model: str) -> Image.Image:
    """Return the measurements as a plot.

    Args:
        points: Of all settings.
        answer_tokens: Length of the timed answer.
        model: Its name, for the title.
    """
    draw = Chart()
    # of settings that are the same number of tokens, such as the default, the first stands for all
    unique: dict[int | str, DialPoint] = {}
    for point in points:
        unique.setdefault(point.image_tokens or point.setting, point)
    points = sorted(unique.values(), key=lambda point: point.image_tokens or 0)
    across, seconds = _across(points), rising_axis(max(point.answer_seconds for point in points))
    draw.axes(across, seconds)
    curves = [
        ("first token", FIRST, [seconds.place(point.first_token_seconds) for point in points]),
        (f"{answer_tokens} tokens", LAST, [seconds.place(point.answer_seconds) for point in points]),
    ]
    if all(point.quality is not None for point in points):
        quality = Axis(vertical(0, 1), [(i / 5, f"{i / 5:.1f}") for i in range(6)])
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
    return draw.image()


def _positions(points: Sequence[DialPoint]) -> list[float]:
    """Return where the points are on the horizontal axis: by their tokens on a logarithmic scale, or one by one."""
    tokens = [point.image_tokens for point in points]
    return [math.log2(count) for count in tokens if count] if all(tokens) else list(map(float, range(len(points))))


def _across(points: Sequence[DialPoint]) -> Axis:
    places = _positions(points)
    margin = (max(places) - min(places) or 1) * 0.06
    low, high = min(places) - margin, max(places) + margin
    width = WIDTH - LEFT - RIGHT
    texts = [str(point.image_tokens or point.setting) for point in points]
    marks: list[tuple[float, str]] = []
    for mark in zip(places, texts, strict=True):
        if not marks or (mark[0] - marks[-1][0]) / (high - low) * width > 30:  # so that no two texts touch
            marks.append(mark)
    return Axis(horizontal(low, high), marks)
