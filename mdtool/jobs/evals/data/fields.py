"""Fields of a row, by the names that data sets give them; a null or NaN stands for a field that the row lacks."""

import math
from typing import Any

from mdtool.errors import InputError
from mdtool.jobs.evals.data.read_rows import Row


def field(row: Row, *names: str) -> Any:
    """Return the first of the fields that the row has. Raises InputError if it has none."""
    if not isinstance(row, dict):
        raise InputError(f"{_shown(row)} should be an object with {' or '.join(names)}")
    value = optional(row, *names)
    if value is None:
        raise InputError(f"a row lacks {' or '.join(names)}; it has {', '.join(map(str, row)) or 'no field'}")
    return value


def optional(row: Row, *names: str) -> Any:
    """Return the first of the fields that the row has; None if it has none."""
    return next((row[name] for name in names if not _is_missing(row.get(name))), None)


def text(row: Row, *names: str) -> str:
    """Return the first of the fields that the row has, a text. Raises InputError if it has none, or it is no text."""
    return checked_text(field(row, *names), " or ".join(names))


def checked_text(value: Any, name: str) -> str:
    """Return a text without outer white space. Raises InputError for anything else, and for an empty one."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} is {_shown(value)}, and should be a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name} is not valid Unicode: {_shown(value)}") from error
    return value.strip()


def texts(value: Any) -> list[str]:
    """Return true answers as texts: of a text, a number, a list of them, or of VQA's objects with an "answer".

    Truth values are "yes" and "no", and whole numbers have no fraction.

    Raises:
        InputError: There is none, or one is of another type.
    """
    found = [_text(item) for item in (value if isinstance(value, list) else [value])]
    if not any(one.strip() for one in found):
        raise InputError("the true answer is empty")
    return found


def _text(item: Any) -> str:
    if isinstance(item, dict) and "answer" in item:
        item = item["answer"]
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, str | int) or (isinstance(item, float) and math.isfinite(item)):
        return str(item)
    raise InputError(f"a true answer is {_shown(item)}, and should be a text or a number")


def numbers(value: Any, count: int) -> list[float]:
    """Return a list of finite numbers. Raises InputError for anything else."""
    if isinstance(value, list | tuple) and len(value) == count:
        try:
            found = [float(item) for item in value]
        except (TypeError, ValueError, OverflowError):
            found = []
        if found and all(map(math.isfinite, found)):
            return found
    raise InputError(f"{_shown(value)} should be {count} numbers")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _shown(value: Any) -> str:
    shown = "bytes" if isinstance(value, dict) and "bytes" in value else repr(value)
    return shown if len(shown) <= 80 else shown[:80] + "…"
