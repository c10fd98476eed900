"""Prints answers to stdout: JSON records, tab-separated lines for pipes, tables on a terminal."""

import re
from collections.abc import Sequence
from typing import Any

from engine.contract import Box, DetectRequest, Done, Failed, ObjectList, Point, PointRequest, QueryRequest, TextDelta
from mdtool.escaping import one_line, several_lines
from mdtool.jobs.inference.requests import Event, ImageRequest
from mdtool.records.answers import DECIMALS, PLACE, SIDES, record
from mdtool.stdout import write_json_record, write_stdout


def print_record(image_request: ImageRequest, event: Event, model: str) -> None:
    """Print the answer to a request as a record of JSON, with the model's name."""
    if isinstance(event, Done):
        name, size = image_request.source.name, image_request.size
        write_json_record(record(image_request.request, event.result, name, size=size, model=model))


class TextLines:
    """Prints text as it streams in, without leading and trailing white space."""

    def __init__(self, with_name: bool, with_question: bool) -> None:
        """Create a printer; with columns each text is one line.

        Args:
            with_name: Print the name of the image in a first column.
            with_question: Print the question in the next column.
        """
        self._with_name = with_name
        self._with_question = with_question
        self._current: ImageRequest | None = None
        self._pending_space: str | None = None  # white space before the next word; None before the first

    def __call__(self, image_request: ImageRequest, event: Event) -> None:
        """Print what an event adds to the answer of a request."""
        if self._current is not image_request:
            if isinstance(event, Failed):
                return
            self._current, self._pending_space = image_request, None
            write_stdout(self._columns(image_request))
        write_stdout(self._stripped(event.text) if isinstance(event, TextDelta) else "\n")

    def _columns(self, image_request: ImageRequest) -> str:
        columns = [image_request.source.name] if self._with_name else []
        if self._with_question and isinstance(image_request.request, QueryRequest):
            columns.append(image_request.request.question)
        return "".join(f"{one_line(column)}\t" for column in columns)

    def _stripped(self, text: str) -> str:
        text = several_lines(text)
        if self._with_name or self._with_question:
            text = re.sub(r"[\n\t]", " ", text)
        text = text.lstrip() if self._pending_space is None else self._pending_space + text
        stripped = text.rstrip()
        if stripped or self._pending_space is not None:
            self._pending_space = text[len(stripped) :]
        return stripped


def print_tsv(image_request: ImageRequest, event: Event) -> None:
    """Print a line for each box or point: image name, label, coordinates and a box's score, separated by tabs."""
    if isinstance(event, Done):
        name = one_line(image_request.source.name)
        assert isinstance(event.result, ObjectList)
        write_stdout("".join("\t".join([name, *row]) + "\n" for row in _rows(image_request.request, event.result)))


def _rows(request: Any, objects: ObjectList) -> list[list[str]]:
    rows = []
    for item in objects.items:
        names = SIDES if isinstance(item, Box) else PLACE
        row = [one_line(item.label or request.prompt), *(f"{getattr(item, name):.{DECIMALS}f}" for name in names)]
        if isinstance(item, Box):
            row.append("" if item.score is None else f"{item.score:.4f}")
        rows.append(row)
    return rows


def print_table(image_request: ImageRequest, event: Event) -> None:
    """Print the objects of one image and prompt as a table for a terminal, with sizes or positions in pixels too."""
    if not isinstance(event, Done):
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    request, (width, height) = image_request.request, image_request.size
    objects = event.result
    assert isinstance(objects, ObjectList)
    assert isinstance(request, DetectRequest | PointRequest)
    boxes = isinstance(request, DetectRequest)
    names = [*SIDES, "score", "size in pixels"] if boxes else [*PLACE, "in pixels"]
    title = f"{escape(one_line(image_request.source.name))} ({width} x {height})"
    table = Table("label", title=title, title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    items: Sequence[Box | Point] = objects.items
    for item, row in zip(items, _rows(request, objects), strict=True):
        table.add_row(escape(row[0]), *row[1:], _in_pixels(item, width, height))
    nothing = f"{title}: no {escape(one_line(request.prompt))}"
    Console(highlight=False).print(table if objects.items else nothing)


def _in_pixels(item: Box | Point, width: int, height: int) -> str:
    if isinstance(item, Point):
        return f"{item.x * width:.0f}, {item.y * height:.0f}"
    return f"{(item.x_max - item.x_min) * width:.0f} x {(item.y_max - item.y_min) * height:.0f}"
