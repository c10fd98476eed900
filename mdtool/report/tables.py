"""What was found, in numbers: the verdict, how many of each, and who looked where."""

from collections.abc import Callable, Mapping, Sequence

from mdtool.report.contents import Attention, Row
from mdtool.report.markup import bar, escape_text, number, percent, table
from mdtool.report.times import Span, format_clock, joined

WORDS = {"Verdict", "Looks at", "When"}  # columns that hold no numbers
SPANS = 10  # as many are written out for each row
TOUCHING = 1e-3  # seconds; closer spans are one, for times in findings are rounded

Column = tuple[str, Callable[[Row], str]]


def rules_table(rows: Sequence[Row]) -> str:
    """A line a rule or label. A column of which no row has anything is left out."""
    if not rows:
        return ""
    judged = any(row.hit is not None for row in rows)
    columns: list[Column] = [
        ("Verdict", lambda row: status_badge(row.hit)),
        ("Objects", lambda row: "" if row.objects is None else number(row.objects)),
        ("Frames", lambda row: number(row.frames)),
        ("Seconds", lambda row: _seconds(joined(row.spans, TOUCHING))),
        ("Largest area", lambda row: "" if row.largest is None else percent(row.largest)),
        ("When", lambda row: _when(joined(row.spans, TOUCHING))),
    ]
    cells = [(name, [cell(row) for row in rows]) for name, cell in columns]
    cells = [(name, column) for name, column in cells if any(column)]
    head = _head("Rule" if judged else "Label", *(name for name, _ in cells))
    body = (
        f'<tr><th scope="row">{escape_text(row.name)}</th>'
        f"{''.join(_cell(name, column[at]) for name, column in cells)}</tr>\n"
        for at, row in enumerate(rows)
    )
    return table("what was found", f"{head}<tbody>{''.join(body)}</tbody>")


def status_badge(hit: bool | None) -> str:
    if hit is None:
        return ""
    return '<span class="pill hit">hit</span>' if hit else '<span class="pill clear">clear</span>'


def counts(counts_by_label: Mapping[str, int]) -> str:
    """A bar a label, the longest first."""
    most = max(counts_by_label.values(), default=0)
    body = (
        f'<tr><th scope="row">{escape_text(label)}</th><td class="bars">{bar(count / most if most else 0)}</td>'
        f"<td>{number(count)}</td></tr>\n"
        for label, count in sorted(counts_by_label.items(), key=lambda item: -item[1])
    )
    return table("objects", f"{_head('Label', '', 'Objects')}<tbody>{''.join(body)}</tbody>") if counts_by_label else ""


def attention(people: Sequence[Attention], timed: bool) -> str:
    """For each person, where they looked, longest first; not `timed`, as of a photo: without how long that was."""
    bodies = "".join(_attention_of(one, timed) for one in people if sum(one.seconds.values()) > 0)
    times = ("", "Share", "Seconds") if timed else ()
    return table("attention", _head("Person", "Looks at", *times) + bodies) if bodies else ""


def _attention_of(one: Attention, timed: bool) -> str:
    lines = [
        f'<th scope="row">{escape_text(target)}</th>{_times(spent, sum(one.seconds.values())) if timed else ""}</tr>\n'
        for target, spent in sorted(one.seconds.items(), key=lambda item: -item[1])
    ]
    person = f'<tr><th scope="rowgroup" rowspan="{len(lines)}">{escape_text(one.person)}</th>'
    return f"<tbody>{person}{'<tr>'.join(lines)}</tbody>"


def _times(spent: float, total: float) -> str:
    return f'<td class="bars">{bar(spent / total)}</td><td>{percent(spent / total)}</td><td>{spent:,.1f}</td>'


def _seconds(spans: Sequence[Span]) -> str:
    total = sum(span.end - span.start for span in spans)
    return f"{total:,.1f}" if total else ""


def _when(spans: Sequence[Span]) -> str:
    """Nothing for a photo, whose only time is 0."""
    if not any(span.start or span.end for span in spans):
        return ""
    times = [f"<span>{format_clock(span.start)}–{format_clock(span.end)}</span>" for span in spans[:SPANS]]
    if len(spans) > SPANS:
        times.append(f"<span>and {number(len(spans) - SPANS)} more</span>")
    return ", ".join(times)


def _cell(column: str, content: str) -> str:
    return f"<td{_kind(column)}>{content}</td>"


def _head(*names: str) -> str:
    """Bars have no name of their own; the number beside them has it."""
    cells = (f'<th scope="col"{_kind(name)}>{name}</th>' if name else "<td></td>" for name in names)
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _kind(column: str) -> str:
    return ' class="words"' if column in WORDS else ""
