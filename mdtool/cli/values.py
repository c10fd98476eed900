"""Parse and check values of options that need more than a type."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TypeVar, overload

from mdtool.errors import UsageError
from recipes.regions import PictureArea, parse_region

T = TypeVar("T")


@overload
def parsed(option: str, parse: Callable[[str], T], text: str) -> T: ...
@overload
def parsed(option: str, parse: Callable[[str], T], text: None) -> None: ...
@overload
def parsed(option: str, parse: Callable[[str], T], text: str | None) -> T | None: ...
def parsed(option: str, parse: Callable[[str], T], text: str | None) -> T | None:
    """Return the parsed value of an option, None if it was not given. Raises UsageError, which names the option."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def parsed_regions(option: str, texts: Iterable[str]) -> tuple[PictureArea, ...]:
    """Return the regions that a repeatable option gives. Raises UsageError, which names the option."""
    return tuple(parsed(option, parse_region, text) for text in texts)


def given(**options: object) -> dict[str, object]:
    """Return the options that have a value, enumerations as their text; None leaves an option to its default."""
    return {
        name: value.value if isinstance(value, Enum) else value for name, value in options.items() if value is not None
    }


def checked(make: Callable[..., T], *values: object, **named: object) -> T:
    """Return `make(*values, **named)`, with a ValueError raised as UsageError."""
    try:
        return make(*values, **named)
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_outputs(output: str | None, findings: str | None, json: bool, **others: str | None) -> None:
    """Check that no two outputs go to the same place.

    Args:
        output: Value of -o.
        findings: Value of --findings.
        json: Whether --json was given.
        others: Values of other options, by name.

    Raises:
        UsageError: Two go to the same file, or to stdout.
    """
    named = {"-o": output, "--findings": findings, **{f"--{option}": name for option, name in others.items()}}
    files: dict[str, str] = {}  # by path, what is written there
    for option, name in named.items():
        if name and name != "-":
            other = files.setdefault(os.path.abspath(name), option)
            if other != option:
                raise UsageError(
                    f"{option} {name}: the same path as {'the output' if other == '-o' else other}; give another one"
                )
    there = [f"{option} -" for option, name in named.items() if name == "-"] + ["--json"] * json
    if len(there) > 1:
        raise UsageError(f"{' and '.join(there)}: only one of them can write to stdout; give the others a file name")


def check_report(report: Path | None, written: Sequence[str | None], read: Sequence[Path]) -> None:
    """Raise UsageError if the report would overwrite an input or another output."""
    if report is None:
        return
    if str(report) == "-":
        raise UsageError("--report -: a report can't go to stdout; give a file name such as report.html")
    if os.path.abspath(report) in [os.path.abspath(name) for name in written if name and name != "-"]:
        raise UsageError(f"--report {report}: also another output; give another name")
    if os.path.exists(report) and any(os.path.exists(other) and report.samefile(other) for other in read):
        raise UsageError(f"--report {report}: is an input of this command; give another name")


def check_exclusive(option: str, others: Mapping[str, object]) -> None:
    """Raise UsageError if one of the others, by name and value, was given with an option that excludes it."""
    for other, value in others.items():
        if value:
            raise UsageError(f"{other}: can't be used with {option}; leave one out")


def check_findings_in(findings: Path | None, inputs: Sequence[str]) -> None:
    """Raise UsageError if findings and inputs would both come from stdin."""
    if findings and str(findings) == "-" and "-" in inputs:
        raise UsageError("-: findings and inputs can't both come from stdin; give one of them as a file")


def check_forced(force_findings: bool, from_findings: Path | None) -> None:
    """Raise UsageError if --force-findings has no findings to use."""
    if force_findings and not from_findings:
        raise UsageError("--force-findings: only with --from-findings; give the findings, or leave it out")


def check_no_copy(findings: str | None, from_findings: Path | None) -> None:
    """Raise UsageError if --findings would only copy those that are read."""
    if findings and from_findings:
        raise UsageError(f"--findings {findings}: would only copy those of --from-findings; leave one out")


def check_not_blank(option: str, texts: Sequence[str]) -> None:
    """Raise UsageError if one of the texts that an option gives is blank."""
    if not all(text.strip() for text in texts):
        raise UsageError(f"{option}: empty; give some text")


def seconds(text: str) -> float:
    """Parse a time such as "90", "90.5", "1:30", "0:01:30.5", "90s", "10m" or "1.5h". Raises ValueError."""
    if with_unit := re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text):
        return float(with_unit[1]) * {"s": 1, "m": 60, "h": 3600}[with_unit[2]]
    if not re.fullmatch(r"\d+(?:\.\d+)?|(?:\d+:)?[0-5]?\d:[0-5]?\d(?:\.\d+)?", text):
        raise ValueError(f"{text!r} is not a time; give seconds, or 1:30, or 0:01:30.5, or 10m")
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def size_in_bytes(text: str) -> int:
    """Parse a size above 0 in decimal units, such as "10GB", "1.5 TB" or "500mb". Raises ValueError."""
    number = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([KMGT])B?", text.strip(), re.ASCII | re.IGNORECASE)
    if not number:
        raise ValueError(f"{text!r} is not a size; give a number and KB, MB, GB or TB, such as 10GB")
    count = int(float(number[1]) * 1000 ** (1 + "KMGT".index(number[2].upper())))
    if not count:
        raise ValueError(f"{text!r} is zero; give a size such as 10GB")
    return count


@overload
def parse_positive_seconds(option: str, text: str) -> float: ...
@overload
def parse_positive_seconds(option: str, text: str | None) -> float | None: ...
def parse_positive_seconds(option: str, text: str | None) -> float | None:
    """Return an option's time in seconds, None if it was not given. Raises UsageError for 0 and for what is no time."""
    time = parsed(option, seconds, text)
    if time == 0:
        raise UsageError(f"{option}: must be more than 0")
    return time
