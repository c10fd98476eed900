"""Option values that need more than a type."""

import re
from collections.abc import Callable
from typing import TypeVar, overload

from mdtool.errors import UsageError

T = TypeVar("T")


@overload
def parsed(option: str, parse: Callable[[str], T], text: str) -> T: ...
@overload
def parsed(option: str, parse: Callable[[str], T], text: None) -> None: ...
@overload
def parsed(option: str, parse: Callable[[str], T], text: str | None) -> T | None: ...
def parsed(option: str, parse: Callable[[str], T], text: str | None) -> T | None:
    """The value of an option, None if it was not given. UsageError, naming the option, where it is none."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def seconds(text: str) -> float:
    """From "90", "90.5", "1:30" or "0:01:30.5". Raises ValueError."""
    if not re.fullmatch(r"(?:(?:\d+:)?[0-5]?\d:)?\d+(?:\.\d+)?", text):
        raise ValueError(f"{text!r} is no time; give seconds, or 1:30, or 0:01:30.5")
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total
