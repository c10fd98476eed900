"""Formats times, chooses the ticks of a time axis, and merges spans."""

import math
from collections.abc import Iterable
from typing import NamedTuple

MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
    30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY,
)  # fmt: skip
MAX_STEPS = 6  # labels that fit side by side on a phone


class Span(NamedTuple):
    """A span of time, in seconds, merged from `parts` spans."""

    start: float
    end: float
    parts: int = 1


def joined(spans: Iterable[tuple[float, float]], gap: float) -> list[Span]:
    """Sort spans, and merge those that overlap or are at most `gap` seconds apart."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start - merged[-1].end <= gap:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, end), merged[-1].parts + 1)
        else:
            merged.append(Span(start, end))
    return merged


def format_clock(seconds: float, decimals: int = 1) -> str:
    """Format a time as m:ss.d, or as h:mm:ss.d from an hour on, rounded."""
    units = round(abs(seconds) * 10**decimals)
    whole, part = divmod(units, 10**decimals)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    sign = "-" if seconds < 0 < units else ""
    hours_minutes = f"{hours}:{minute:02}" if hours else str(minute)
    return f"{sign}{hours_minutes}:{second:02}" + (f".{part:0{decimals}}" if decimals else "")


def ticks(start: float, end: float) -> list[tuple[float, str]]:
    """Return round times from start to end, with their labels, few enough that the labels don't overlap."""
    length = end - start
    step = next((step for step in STEPS if length <= MAX_STEPS * step), math.ceil(length / DAY / MAX_STEPS) * DAY)
    decimals = 2 if step < 0.1 else 1 if step < 1 else 0
    slack = step * 1e-6  # for rounding errors
    first, last = math.ceil((start - slack) / step), math.floor((end + slack) / step)
    return [(number * step, format_clock(number * step, decimals)) for number in range(first, last + 1)]
