"""Fields of a row, by the names that data sets give them."""

from typing import Any

from mdtool.errors import InputError
from mdtool.jobs.evals.data.read_rows import Row


def field(row: Row, *names: str) -> Any:
    """Return the first of the fields that the row has. Raises InputError if it has none."""
    value = optional(row, *names)
    if value is None:
        raise InputError(f"a row lacks {' or '.join(names)}; it has {', '.join(map(str, row)) or 'no field'}")
    return value


def optional(row: Row, *names: str) -> Any:
    """Return the first of the fields that the row has and that is not null; None if it has none."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def texts(value: Any) -> list[str]:
    """Return true answers as texts: of a text, a number, a list of them, or of VQA's objects with an "answer"."""
    items = value if isinstance(value, list) else [value]
    return [str(item["answer"] if isinstance(item, dict) and "answer" in item else item) for item in items]


def numbers(value: Any, count: int) -> list[float]:
    """Return a list of numbers. Raises InputError for anything else."""
    if isinstance(value, list | tuple) and len(value) == count:
        try:
            return [float(item) for item in value]
        except (TypeError, ValueError):
            pass
    raise InputError(f"{value!r} should be {count} numbers")
