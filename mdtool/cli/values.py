"""Option values that need more than a type."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TypeVar, overload

from mdtool.errors import UsageError
from mdtool.media.sources.inputs import is_media_file
from recipes.regions import PictureArea, parse_region

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


def parsed_regions(option: str, texts: Iterable[str]) -> tuple[PictureArea, ...]:
    return tuple(parsed(option, parse_region, text) for text in texts)


def given(**options: object) -> dict[str, object]:
    """Those that have a value, enumerations as their text; `None` leaves an option to its default."""
    return {
        name: value.value if isinstance(value, Enum) else value for name, value in options.items() if value is not None
    }


def checked(make: Callable[..., T], *values: object, **named: object) -> T:
    """What `make` makes of the values; UsageError where they can't be."""
    try:
        return make(*values, **named)
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_outputs(output: str | None, findings: str | None, json: bool, **others: str | None) -> None:
    """UsageError if more than one thing is to go to the same place. others: by the names of their options."""
    named = {"-o": output, "--findings": findings, **{f"--{option}": name for option, name in others.items()}}
    files: dict[str, str] = {}  # by path, what is written there
    for option, name in named.items():
        if name and name != "-":
            other = files.setdefault(os.path.abspath(name), option)
            if other != option:
                raise UsageError(
                    f"{option} {name}: is {'the output' if other == '-o' else other} too; give another name"
                )
    there = [f"{option} -" for option, name in named.items() if name == "-"] + ["--json"] * json
    if len(there) > 1:
        raise UsageError(f"{' and '.join(there)}: only one of them can have stdout; give the others a file name")


def check_report(report: Path | None, written: Sequence[str | None], read: Sequence[Path]) -> None:
    """UsageError if the report is to go where something else goes, or over what is read."""
    if report is None:
        return
    if str(report) == "-":
        raise UsageError("--report -: is a page, not for stdout; give a file name such as report.html")
    if os.path.abspath(report) in [os.path.abspath(name) for name in written if name and name != "-"]:
        raise UsageError(f"--report {report}: is another output too; give another name")
    if report.exists() and any(other.exists() and report.samefile(other) for other in read):
        raise UsageError(f"--report {report}: is read by this very command; give another name")


def check_exclusive(option: str, others: Mapping[str, object]) -> None:
    """UsageError if one of the others, given by name and value, stands beside an option that leaves no room for it."""
    for other, value in others.items():
        if value:
            raise UsageError(f"{other}: does not go together with {option}")


def check_findings_in(findings: Path | None, inputs: Sequence[str]) -> None:
    """UsageError if the findings and the pictures are both to come from stdin."""
    if findings and str(findings) == "-" and "-" in inputs:
        raise UsageError("-: findings and pictures can't both come from stdin; give one of them as a file")


def split_images_and_prompts(
    arguments: Sequence[str], prompts: Sequence[str], others: str | None = None
) -> tuple[list[str], list[str]]:
    """(images, prompts): the last argument is the prompt, unless options gave some. UsageError if one of them lacks.

    others: a list of more images, if there is one.
    """
    if prompts:
        check_not_blank("--prompt", prompts)
        return list(arguments), list(prompts)
    if not arguments:
        raise UsageError("what to find is missing; name it last, after the images: photo.jpg face")
    *images, prompt = arguments
    path = Path(prompt)
    if prompt == "-" or (os.path.exists(path) and (not images or is_media_file(path))):
        raise UsageError(f"{prompt}: is an image, and what to find is missing; name it last, as in: {prompt} face")
    if not images and not others:
        raise UsageError(f"{prompt!r}: no such image; name the images first and what to find last: photo.jpg face")
    check_not_blank("PROMPT", [prompt])
    return images, [prompt]


def check_not_blank(option: str, texts: Sequence[str]) -> None:
    if not all(text.strip() for text in texts):
        raise UsageError(f"{option}: is empty; say something in plain words")


def seconds(text: str) -> float:
    """From "90", "90.5", "1:30" or "0:01:30.5", or "90s", "10m", "1.5h". Raises ValueError."""
    if with_unit := re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text):
        return float(with_unit[1]) * {"s": 1, "m": 60, "h": 3600}[with_unit[2]]
    if not re.fullmatch(r"\d+(?:\.\d+)?|(?:\d+:)?[0-5]?\d:[0-5]?\d(?:\.\d+)?", text):
        raise ValueError(f"{text!r} is no time; give seconds, or 1:30, or 0:01:30.5, or 10m")
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def size_in_bytes(text: str) -> int:
    """From "10GB", "1.5 TB" or "500mb", with units of a thousand; above 0. Raises ValueError."""
    number = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([KMGT])B?", text.strip(), re.ASCII | re.IGNORECASE)
    if not number:
        raise ValueError(f"{text!r} is no size; give a number and KB, MB, GB or TB, such as 10GB")
    count = int(float(number[1]) * 1000 ** (1 + "KMGT".index(number[2].upper())))
    if not count:
        raise ValueError(f"{text!r} is nothing; give more, such as 10GB")
    return count


@overload
def parse_positive_seconds(option: str, text: str) -> float: ...
@overload
def parse_positive_seconds(option: str, text: str | None) -> float | None: ...
def parse_positive_seconds(option: str, text: str | None) -> float | None:
    """A time in seconds above 0, None if it was not given."""
    time = parsed(option, seconds, text)
    if time == 0:
        raise UsageError(f"{option}: must be more than 0")
    return time
