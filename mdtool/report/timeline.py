"""Renders the timeline of a report: a lane per rule or label, over a common time axis.

Every lane is an SVG with positions in per cent, so that its bars scale with the page and its text does not.
"""

from collections.abc import Iterable

from mdtool.escaping import html_escaped
from mdtool.report.contents import Chapter, Row
from mdtool.report.markup import escape_text, number
from mdtool.report.times import Span, format_clock, joined, ticks

PIXELS = 800  # about the maximum width of a lane; nothing finer is drawn
MIN_WIDTH = 100 / PIXELS  # per cent; SVG does not draw a bar of zero width
EDGE = 5  # per cent; labels nearer to an end of the axis are not centred on their tick, or they would overflow


def timeline(chapter: Chapter) -> str:
    """Render the timeline of a chapter; empty for still images, and without findings."""
    spans = [span for row in chapter.rows for span in row.spans]
    start = min([chapter.start, *(start for start, _ in spans)])
    end = max([chapter.start + (chapter.duration or 0), *(end for _, end in spans)])
    if not spans or start == end:
        return ""
    axis = _Axis(start, end)
    lanes = [_row_lane(axis, row) for row in chapter.rows]
    if chapter.cuts:
        lanes.append(_lane(axis, "scene cuts", "cuts", joined(((at, at) for at in chapter.cuts), axis.pixel)))
    return f'<div class="timeline">\n{"".join(lanes)}{axis.labels()}</div>'


class _Axis:
    """The time axis, from start to end in seconds."""

    def __init__(self, start: float, end: float) -> None:
        self._start = start
        self._length = end - start
        self._ticks = [(self.place(time), name) for time, name in ticks(start, end)]
        self.grid = "".join(f'<line x1="{_percent(x)}" x2="{_percent(x)}" y2="100%"/>' for x, _ in self._ticks)
        self.pixel = self._length / PIXELS

    def place(self, time: float) -> float:
        """Return the position of a time in per cent, clamped to the axis."""
        return min(max((time - self._start) / self._length, 0), 1) * 100

    def labels(self) -> str:
        texts = "".join(f'<text x="{_percent(x)}" y="1em"{_anchor(x)}>{name}</text>' for x, name in self._ticks)
        return f'<div class="lane axis"><span></span><svg aria-hidden="true">{texts}</svg></div>\n'


def _row_lane(axis: _Axis, row: Row) -> str:
    kind = "hit" if row.hit else "found"
    return _lane(axis, row.name, kind, joined(row.spans, axis.pixel))


def _lane(axis: _Axis, name: str, kind: str, spans: Iterable[Span]) -> str:
    bars = "".join(_bar(axis, span) for span in spans)
    title = html_escaped(name) + ("" if bars else ": never")
    drawing = f'<svg role="img"><title>{title}</title><g class="grid">{axis.grid}</g>{bars}</svg>'
    return f'<div class="lane {kind}"><span>{escape_text(name)}</span>{drawing}</div>\n'


def _bar(axis: _Axis, span: Span) -> str:
    width = max(axis.place(span.end) - axis.place(span.start), MIN_WIDTH)
    left = min(axis.place(span.start), 100 - width)
    size = f'x="{_percent(left)}" width="{_percent(width)}" height="100%"'
    return f"<rect {size}><title>{_when(span)}</title></rect>"


def _when(span: Span) -> str:
    start, end = format_clock(span.start), format_clock(span.end)
    times = start if start == end else f"{start}–{end}"
    return times if span.parts == 1 else f"{times}, {number(span.parts)} times"


def _percent(place: float) -> str:
    return f"{place:.2f}".rstrip("0").rstrip(".") + "%"


def _anchor(place: float) -> str:
    return "" if place < EDGE else ' text-anchor="end"' if place > 100 - EDGE else ' text-anchor="middle"'
