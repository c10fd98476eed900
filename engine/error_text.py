"""Helpers for one-line error messages: quoted names from files, reasons of other errors, lists of faults."""

from collections.abc import Mapping
from typing import Any


def quoted_name(name: str) -> str:
    """Return a quoted name, cut to 100 characters."""
    return repr(name if len(name) <= 100 else name[:97] + "...")


def short_repr(value: Any) -> str:
    """Return the repr of a value from a file, cut to 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def reason(error: Exception) -> str:
    """Return an error's message in one line, cut to 200 characters."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 200 else line[:197] + "..."


def summarize_faults(faults: Mapping[str, list[str]]) -> str:
    """Return the first three names of each kind of fault, and how many more there are."""

    def few(names: list[str]) -> str:
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    return "; ".join(f"{kind}: {few(names)}" for kind, names in faults.items() if names)
