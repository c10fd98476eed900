"""The measurements of `eval speed-quality` as a plot: quality against seconds a picture."""

import math
from collections.abc import Sequence

from PIL import Image

from mdtool.jobs.evals.speed_quality import SpeedQualityPoint
from mdtool.report.chart import (
    COLOURS,
    HEIGHT,
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

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)  # of quality, between marks
MAX_MARKS = 7


def plot(points: Sequence[SpeedQualityPoint], title: str) -> Image.Image:
    """Return the measurements as a plot, a line for each quantisation.

    Args:
        points: Of all settings.
        title: What was measured.
    """
    chart = Chart()
    seconds = rising_axis(max(point.quality.seconds for point in points), horizontal)
    quality = _quality_axis([point.quality.value for point in points])
    chart.axes(seconds, quality)
    chart.text(LEFT, 22, title, "lm", size=22)
    chart.text(LEFT, TOP - 24, points[0].quality.figure, "mm")
    chart.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 22, "seconds a picture", "mm")
    x: float = LEFT + 130
    schemes = dict.fromkeys(point.quantize for point in points)
    for number, (scheme, colour) in enumerate(zip(schemes, COLOURS, strict=False)):
        own = [point for point in points if point.quantize == scheme]
        corners = [(seconds.place(point.quality.seconds), quality.place(point.quality.value)) for point in own]
        chart.line(corners, colour, 3)
        for point, corner in zip(own, corners, strict=True):
            chart.dot(*corner, colour)
            row = corner[1] + (16 if number % 2 else -16)  # of neighbouring lines on either side
            chart.text(corner[0], row, point.resolution.split()[-1], "mm", colour=colour, size=13)
        chart.dot(x, TOP - 24, colour)
        x = chart.text(x + 14, TOP - 24, scheme, "lm") + 30
    return chart.image()


def _quality_axis(values: Sequence[float]) -> Axis:
    """Return an axis of percentages around the values, for differences to be seen; it need not begin at 0."""
    for step in STEPS:
        low, high = math.floor(min(values) / step), math.ceil(max(values) / step)
        if high - low < MAX_MARKS:
            break
    high = max(high, low + 1)
    marks = [(index * step, f"{index * step:.0%}") for index in range(low, high + 1)]
    return Axis(vertical(low * step, high * step), marks)
