"""What comes from elsewhere, made fit for an error of one line: names out of files, other errors, lists of faults."""

from collections.abc import Mapping
from typing import Any


def quoted_name(name: str) -> str:
    return repr(name if len(name) <= 100 else name[:97] + "...")


def short_repr(value: Any) -> str:
    """Return what a file gives as a value, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def reason(error: Exception) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 200 else line[:197] + "..."


def summarize_faults(faults: Mapping[str, list[str]]) -> str:
    """The first few of each kind, and how many more."""

    def few(names: list[str]) -> str:
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    return "; ".join(f"{kind}: {few(names)}" for kind, names in faults.items() if names)
