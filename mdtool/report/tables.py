"""Renders the tables of a report: rules and labels, object counts, and attention."""

from collections.abc import Callable, Mapping, Sequence

from mdtool.report.contents import Attention, Row
from mdtool.report.markup import bar, escape_text, number, percent, table
from mdtool.report.times import Span, format_clock, joined

TEXT_COLUMNS = {"Verdict", "Looks at", "When"}
MAX_SPANS = 10  # listed per row
MAX_GAP = 1e-3  # seconds; closer spans are merged, as times in findings are rounded

Column = tuple[str, Callable[[Row], str]]


def rules_table(rows: Sequence[Row]) -> str:
    """Render a row per rule or label; empty columns are left out."""
    if not rows:
        return ""
    judged = any(row.hit is not None for row in rows)
    columns: list[Column] = [
        ("Verdict", lambda row: status_badge(row.hit)),
        ("Objects", lambda row: "" if row.objects is None else number(row.objects)),
        ("Frames", lambda row: number(row.frames)),
        ("Seconds", lambda row: _seconds(joined(row.spans, MAX_GAP))),
        ("Largest area", lambda row: "" if row.largest is None else percent(row.largest)),
        ("When", lambda row: _when(joined(row.spans, MAX_GAP))),
    ]
    cells = [(name, [cell(row) for row in rows]) for name, cell in columns]
    cells = [(name, column) for name, column in cells if any(column)]
    head = _head("Rule" if judged else "Label", *(name for name, _ in cells))
    body = (
        f'<tr><th scope="row">{escape_text(row.name)}</th>'
        f"{''.join(_cell(name, column[at]) for name, column in cells)}</tr>\n"
        for at, row in enumerate(rows)
    )
    return table("findings", f"{head}<tbody>{''.join(body)}</tbody>")


def status_badge(hit: bool | None) -> str:
    """Render a badge, "hit" or "clear"; nothing for None."""
    if hit is None:
        return ""
    return '<span class="pill hit">hit</span>' if hit else '<span class="pill clear">clear</span>'


def counts(counts_by_label: Mapping[str, int]) -> str:
    """Render a bar per label, the longest first."""
    highest = max(counts_by_label.values(), default=0)
    body = (
        f'<tr><th scope="row">{escape_text(label)}</th><td class="bars">{bar(count / highest if highest else 0)}</td>'
        f"<td>{number(count)}</td></tr>\n"
        for label, count in sorted(counts_by_label.items(), key=lambda item: -item[1])
    )
    return table("objects", f"{_head('Label', '', 'Objects')}<tbody>{''.join(body)}</tbody>") if counts_by_label else ""


def attention(people: Sequence[Attention], timed: bool) -> str:
    """Render the targets of each person, longest first.

    Args:
        people: The people and their gaze targets.
        timed: Show durations; a still image has none.
    """
    bodies = "".join(_person_rows(person, timed) for person in people if sum(person.seconds.values()) > 0)
    times = ("", "Share", "Seconds") if timed else ()
    return table("attention", _head("Person", "Looks at", *times) + bodies) if bodies else ""


def _person_rows(person: Attention, timed: bool) -> str:
    total = sum(person.seconds.values())
    lines = [
        f'<th scope="row">{escape_text(target)}</th>{_times(seconds, total) if timed else ""}</tr>\n'
        for target, seconds in sorted(person.seconds.items(), key=lambda item: -item[1])
    ]
    head = f'<tr><th scope="rowgroup" rowspan="{len(lines)}">{escape_text(person.person)}</th>'
    return f"<tbody>{head}{'<tr>'.join(lines)}</tbody>"


def _times(seconds: float, total: float) -> str:
    return f'<td class="bars">{bar(seconds / total)}</td><td>{percent(seconds / total)}</td><td>{seconds:,.1f}</td>'


def _seconds(spans: Sequence[Span]) -> str:
    total = sum(span.end - span.start for span in spans)
    return f"{total:,.1f}" if total else ""


def _when(spans: Sequence[Span]) -> str:
    """Render spans; nothing for a still image, whose only time is 0."""
    if not any(span.start or span.end for span in spans):
        return ""
    times = [f"<span>{format_clock(span.start)}–{format_clock(span.end)}</span>" for span in spans[:MAX_SPANS]]
    if len(spans) > MAX_SPANS:
        times.append(f"<span>and {number(len(spans) - MAX_SPANS)} more</span>")
    return ", ".join(times)


def _cell(column: str, content: str) -> str:
    return f"<td{_kind(column)}>{content}</td>"


def _head(*names: str) -> str:
    """Render the table head; a column of bars has no name, the number next to it has one."""
    cells = (f'<th scope="col"{_kind(name)}>{name}</th>' if name else "<td></td>" for name in names)
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _kind(column: str) -> str:
    return ' class="words"' if column in TEXT_COLUMNS else ""
