"""Answers on stdout: records for machines, lines for pipes, tables for people."""

import re
from collections.abc import Sequence
from typing import Any

from engine.contract import Box, DetectRequest, Done, Failed, ObjectList, Point, PointRequest, QueryRequest, TextDelta
from mdtool.console import CONTROL_CHARACTERS, one_line
from mdtool.jobs.inference.requests import Event, ImageRequest
from mdtool.records.answers import DECIMALS, PLACE, SIDES, record
from mdtool.stdout import write_json_record, write_stdout


def print_record(asked: ImageRequest, event: Event, model: str) -> None:
    if isinstance(event, Done):
        write_json_record(record(asked.request, event.result, asked.source.name, size=asked.size, model=model))


class TextLines:
    """Texts as they grow, without outer white space. Of several each is one line, headed by what they differ in.

    named: begin with the name of the photo. asked: then with the question.
    """

    def __init__(self, named: bool, asked: bool) -> None:
        self._named = named
        self._asked = asked
        self._begun: ImageRequest | None = None
        self._gap: str | None = None  # white space that waits for the next word; None before the first

    def __call__(self, asked: ImageRequest, event: Event) -> None:
        if self._begun is not asked:
            if isinstance(event, Failed):
                return
            self._begun, self._gap = asked, None
            write_stdout(self._head(asked))
        write_stdout(self._words(event.text) if isinstance(event, TextDelta) else "\n")

    def _head(self, asked: ImageRequest) -> str:
        head = [asked.source.name] if self._named else []
        if self._asked and isinstance(asked.request, QueryRequest):
            head.append(asked.request.question)
        return "".join(f"{one_line(column)}\t" for column in head)

    def _words(self, text: str) -> str:
        text = CONTROL_CHARACTERS.sub("", text)
        if self._named or self._asked:
            text = re.sub(r"[\n\t]", " ", text)
        text = text.lstrip() if self._gap is None else self._gap + text
        words = text.rstrip()
        if words or self._gap is not None:
            self._gap = text[len(words) :]
        return words


def print_tsv(asked: ImageRequest, event: Event) -> None:
    """A line for each box or point: name of the photo, label, coordinates, and for a box its score, between tabs."""
    if isinstance(event, Done):
        name = one_line(asked.source.name)
        assert isinstance(event.result, ObjectList)
        write_stdout("".join("\t".join([name, *row]) + "\n" for row in _rows(asked.request, event.result)))


def _rows(request: Any, found: ObjectList) -> list[list[str]]:
    rows = []
    for one in found.items:
        names = SIDES if isinstance(one, Box) else PLACE
        row = [one_line(one.label or request.prompt), *(f"{getattr(one, name):.{DECIMALS}f}" for name in names)]
        if isinstance(one, Box):
            row.append("" if one.score is None else f"{one.score:.4f}")
        rows.append(row)
    return rows


def print_table(asked: ImageRequest, event: Event) -> None:
    """For a terminal: one table for a photo and a prompt, with sizes or places in pixels too."""
    if not isinstance(event, Done):
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    width, height = asked.size
    found = event.result
    assert isinstance(found, ObjectList)
    assert isinstance(asked.request, DetectRequest | PointRequest)
    boxes = isinstance(asked.request, DetectRequest)
    names = [*SIDES, "score", "size in pixels"] if boxes else [*PLACE, "in pixels"]
    table = Table("label", title=f"{escape(one_line(asked.source.name))} ({width} x {height})", title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    items: Sequence[Box | Point] = found.items
    for one, row in zip(items, _rows(asked.request, found), strict=True):
        table.add_row(escape(row[0]), *row[1:], _in_pixels(one, width, height))
    nothing = f"{table.title}: no {escape(one_line(asked.request.prompt))}"
    Console(highlight=False).print(table if found.items else nothing)


def _in_pixels(one: Box | Point, width: int, height: int) -> str:
    if isinstance(one, Point):
        return f"{one.x * width:.0f}, {one.y * height:.0f}"
    return f"{(one.x_max - one.x_min) * width:.0f} x {(one.y_max - one.y_min) * height:.0f}"
