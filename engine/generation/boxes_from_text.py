"""Boxes and points from the text of a model that answers with JSON, as Qwen-VL and others are trained to.

The answer should be a list of objects such as {"bbox_2d": [x1, y1, x2, y2], "label": "face"}. It may be fenced as code,
be a single object, or be cut off by the token limit.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

_FENCE = re.compile(r"```(?:json)?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_FLAT_OBJECT = re.compile(r"\{[^{}]*\}")
_LIST_START = re.compile(r"\s*\[")


@dataclass(frozen=True)
class ParsedObjects:
    """What an answer lists.

    Attributes:
        items: Coordinates of each object, fractions of the image, 0..1; each once.
        complete: Whether the list has its end and no entry that can't be read.
    """

    items: list[tuple[float, ...]]
    complete: bool


def parse_objects(text: str, key: str, count: int, scale: float) -> ParsedObjects | None:
    """Parse an answer, leniently.

    Args:
        text: The answer.
        key: Of the coordinates in each object.
        count: Numbers of an object: 2 for a point, 4 for a box.
        scale: That a coordinate of 1 is written as.

    Returns:
        The objects; corners of boxes are sorted, and coordinates clamped to the image. None if the answer is no list of
        objects, or none of its entries can be read.
    """
    fenced = _FENCE.search(text)
    body = fenced[1] if fenced else text
    data = _json(body)
    is_whole = isinstance(data, list | dict)
    if isinstance(data, list) and not _is_numbers(data, count):
        entries = data
    elif is_whole:
        entries = [data]
    else:
        entries = [entry for match in _FLAT_OBJECT.finditer(body) if (entry := _json(match[0])) is not None]
        if not entries and not _LIST_START.match(body):
            return None
    found = [_coordinates(entry, key, count, scale) for entry in entries]
    items = list(dict.fromkeys(item for item in found if item))
    if not items and (found or not is_whole):
        return None
    return ParsedObjects(items, complete=is_whole and None not in found)


def _json(text: str) -> Any:
    """Parse JSON; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _coordinates(entry: Any, key: str, count: int, scale: float) -> tuple[float, ...] | None:
    numbers = entry.get(key) if isinstance(entry, dict) else entry
    if not _is_numbers(numbers, count):
        return None
    values = [min(max(number / scale, 0.0), 1.0) for number in numbers]
    if count == 4:
        values = [*_pairwise(min, values), *_pairwise(max, values)]
    return tuple(values)


def _pairwise(choose: Any, corners: list[float]) -> Iterable[float]:
    return (choose(corners[axis], corners[axis + 2]) for axis in (0, 1))


def _is_numbers(value: Any, count: int) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(number) in (int, float) and abs(number) < math.inf for number in value)
    )
