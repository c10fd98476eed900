"""What was asked about photos and answered, as text: records for machines, lines for pipes, tables for people.

A record is one line of JSON, for one photo and one prompt, question or length:

schema         "mdtool.answers/1"
input          the photo, as it was named
width, height  pixels, upright
model          that answered
prompt         with objects (label, x_min, y_min, x_max, y_max, and score from a model that has one)
               or points (label, x, y): in fractions of the upright photo, origin top left; and complete: false if
               a limit ended the list, so that there may be more
question       with answer, and if the model reasoned: reasoning, and grounding: start and end of a passage of the
               reasoning, and the points (x, y) it speaks of
length         with caption
"""

import re
from collections.abc import Sequence
from typing import Any

from engine.contract import (
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Done,
    Failed,
    Found,
    Piece,
    Point,
    PointRequest,
    QueryRequest,
    Request,
)
from mdtool.console import one_line
from mdtool.jobs.inference.requests import Asked, Event
from mdtool.stdout import put, put_record

SCHEMA = "mdtool.answers/1"
DECIMALS = 6
SIDES = ("x_min", "y_min", "x_max", "y_max")
PLACE = ("x", "y")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # could command a terminal


def print_record(asked: Asked, event: Event, model: str) -> None:
    if isinstance(event, Done):
        put_record(record(asked, event.result, model))


def record(asked: Asked, result: Any, model: str) -> dict[str, Any]:
    """See above. result: as `Done` has it."""
    width, height = asked.size
    about = {"schema": SCHEMA, "input": asked.source.name, "width": width, "height": height, "model": model}
    return about | told(asked.request, result)


def told(request: Request, result: Any) -> dict[str, Any]:
    """What was asked and answered; result: as `Done` has it."""
    match request:
        case CaptionRequest(length=length):
            return {"length": length, "caption": result.text}
        case QueryRequest(question=question):
            return {"question": question} | _answer(result)
        case DetectRequest(prompt=prompt):
            return {
                "prompt": prompt,
                "objects": [_object(b, prompt) for b in result.items],
                "complete": result.complete,
            }
        case PointRequest(prompt=prompt):
            points = [{"label": point.label or prompt, **_rounded(point, PLACE)} for point in result.items]
            return {"prompt": prompt, "points": points, "complete": result.complete}
    raise TypeError(f"no record for {request}")


def _answer(answer: Answer) -> dict[str, Any]:
    entry: dict[str, Any] = {"answer": answer.text}
    if answer.reasoning:
        entry["reasoning"] = answer.reasoning
        entry["grounding"] = [
            {"start": passage.start, "end": passage.end, "points": [_rounded(point, PLACE) for point in passage.points]}
            for passage in answer.grounding
        ]
    return entry


def _object(box: Box, prompt: str) -> dict[str, Any]:
    score = {} if box.score is None else {"score": round(box.score, DECIMALS)}
    return {"label": box.label or prompt, **_rounded(box, SIDES), **score}


def _rounded(place: Box | Point, names: Sequence[str]) -> dict[str, float]:
    return {name: round(getattr(place, name), DECIMALS) for name in names}


class TextLines:
    """Texts as they grow, without outer white space. Of several each is one line, headed by what they differ in.

    named: begin with the name of the photo. asked: then with the question.
    """

    def __init__(self, named: bool, asked: bool) -> None:
        self._named = named
        self._asked = asked
        self._begun: Asked | None = None
        self._gap: str | None = None  # white space that waits for the next word; None before the first

    def __call__(self, asked: Asked, event: Event) -> None:
        if self._begun is not asked:
            if isinstance(event, Failed):
                return
            self._begun, self._gap = asked, None
            put(self._head(asked))
        put(self._words(event.text) if isinstance(event, Piece) else "\n")

    def _head(self, asked: Asked) -> str:
        head = [asked.source.name] if self._named else []
        if self._asked and isinstance(asked.request, QueryRequest):
            head.append(asked.request.question)
        return "".join(f"{one_line(column)}\t" for column in head)

    def _words(self, text: str) -> str:
        text = CONTROLS.sub("", text)
        if self._named or self._asked:
            text = re.sub(r"[\n\t]", " ", text)
        text = text.lstrip() if self._gap is None else self._gap + text
        words = text.rstrip()
        if words or self._gap is not None:
            self._gap = text[len(words) :]
        return words


def print_places(asked: Asked, event: Event) -> None:
    """A line for each box or point: name of the photo, label, coordinates, and for a box its score, between tabs."""
    if isinstance(event, Done):
        name = one_line(asked.source.name)
        assert isinstance(event.result, Found)
        put("".join("\t".join([name, *row]) + "\n" for row in _rows(asked.request, event.result)))


def _rows(request: Any, found: Found) -> list[list[str]]:
    rows = []
    for one in found.items:
        names = SIDES if isinstance(one, Box) else PLACE
        row = [one_line(one.label or request.prompt), *(f"{getattr(one, name):.{DECIMALS}f}" for name in names)]
        if isinstance(one, Box):
            row.append("" if one.score is None else f"{one.score:.4f}")
        rows.append(row)
    return rows


def print_table(asked: Asked, event: Event) -> None:
    """For a terminal: one table for a photo and a prompt, with sizes or places in pixels too."""
    if not isinstance(event, Done):
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    width, height = asked.size
    found = event.result
    assert isinstance(asked.request, DetectRequest | PointRequest)
    assert isinstance(found, Found)
    items: Sequence[Box | Point] = found.items
    boxes = isinstance(asked.request, DetectRequest)
    names = [*SIDES, "score", "size in pixels"] if boxes else [*PLACE, "in pixels"]
    table = Table("label", title=f"{escape(one_line(asked.source.name))} ({width} x {height})", title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    for one, row in zip(items, _rows(asked.request, found), strict=True):
        table.add_row(escape(row[0]), *row[1:], _in_pixels(one, width, height))
    nothing = f"{table.title}: no {escape(one_line(asked.request.prompt))}"
    Console(highlight=False).print(table if items else nothing)


def _in_pixels(one: Box | Point, width: int, height: int) -> str:
    if isinstance(one, Point):
        return f"{one.x * width:.0f}, {one.y * height:.0f}"
    return f"{(one.x_max - one.x_min) * width:.0f} x {(one.y_max - one.y_min) * height:.0f}"
