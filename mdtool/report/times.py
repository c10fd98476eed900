"""Seconds for people: as a clock shows them, in round steps, and in spans."""

import math
from collections.abc import Iterable
from typing import NamedTuple

MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
    30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY,
)  # fmt: skip
MOST_STEPS = 6  # as many times as can stand side by side on a phone


class Span(NamedTuple):
    """start, end: seconds. parts: of how many it is made."""

    start: float
    end: float
    parts: int = 1


def joined(spans: Iterable[tuple[float, float]], gap: float) -> list[Span]:
    """The spans in order, those as one that overlap or are at most `gap` seconds apart."""
    joint: list[Span] = []
    for start, end in sorted(spans):
        if joint and start - joint[-1].end <= gap:
            joint[-1] = Span(joint[-1].start, max(joint[-1].end, end), joint[-1].parts + 1)
        else:
            joint.append(Span(start, end))
    return joint


def format_clock(seconds: float, decimals: int = 1) -> str:
    """m:ss.d, or h:mm:ss.d from an hour on, rounded."""
    units = round(abs(seconds) * 10**decimals)
    whole, part = divmod(units, 10**decimals)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    sign = "-" if seconds < 0 < units else ""
    minute_of = f"{hours}:{minute:02}" if hours else str(minute)
    return f"{sign}{minute_of}:{second:02}" + (f".{part:0{decimals}}" if decimals else "")


def ticks(start: float, end: float) -> list[tuple[float, str]]:
    """Round times from start to end and how to write them: few enough that they don't touch."""
    length = end - start
    step = next((step for step in STEPS if length <= MOST_STEPS * step), math.ceil(length / DAY / MOST_STEPS) * DAY)
    decimals = 2 if step < 0.1 else 1 if step < 1 else 0
    slack = step * 1e-6  # of rounding
    first, last = math.ceil((start - slack) / step), math.floor((end + slack) / step)
    return [(number * step, format_clock(number * step, decimals)) for number in range(first, last + 1)]
