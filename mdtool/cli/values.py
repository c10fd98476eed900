"""Option values that need more than a type."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, overload

from engine.contract import Generation
from mdtool.errors import UsageError
from mdtool.media.inputs import is_medium

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


def checked(make: Callable[..., T], *values: object) -> T:
    """What `make` makes of the values; UsageError where they can't be."""
    try:
        return make(*values)
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_outputs(output: str | None, findings: str | None, json: bool) -> None:
    """UsageError if more than one thing is to go to the same place."""
    if output and findings and output != "-" and os.path.abspath(output) == os.path.abspath(findings):
        raise UsageError(f"--findings {findings}: is the output too; give another name")
    there = [
        name for name, goes in (("-o -", output == "-"), ("--findings -", findings == "-"), ("--json", json)) if goes
    ]
    if len(there) > 1:
        raise UsageError(f"{' and '.join(there)}: only one of them can have stdout; give the others a file name")


def check_apart(option: str, others: Mapping[str, object]) -> None:
    """UsageError if one of the others, given by name and value, stands beside an option that leaves no room for it."""
    for other, value in others.items():
        if value:
            raise UsageError(f"{other}: does not go together with {option}")


def check_findings_in(findings: Path | None, inputs: Sequence[str]) -> None:
    """UsageError if the findings and the pictures are both to come from stdin."""
    if findings and str(findings) == "-" and "-" in inputs:
        raise UsageError("-: findings and pictures can't both come from stdin; give one of them as a file")


def images_and_prompts(arguments: Sequence[str], prompts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(images, prompts): the last argument is the prompt, unless options gave some. UsageError if one of them lacks."""
    if prompts:
        check_not_blank("--prompt", prompts)
        return list(arguments), list(prompts)
    *images, prompt = arguments
    path = Path(prompt)
    if prompt == "-" or (os.path.exists(path) and (not images or is_medium(path))):
        raise UsageError(f"{prompt}: is an image, and what to find is missing; name it last, as in: {prompt} face")
    if not images:
        raise UsageError(f"{prompt!r}: no such image; name the images first and what to find last: photo.jpg face")
    check_not_blank("PROMPT", [prompt])
    return images, [prompt]


def check_not_blank(option: str, texts: Sequence[str]) -> None:
    if not all(text.strip() for text in texts):
        raise UsageError(f"{option}: is empty; say something in plain words")


def generation(temperature: float | None, top_p: float | None, max_tokens: int | None, seed: int) -> Generation:
    """UsageError for what is no number; the options' own ranges see to the rest."""
    for option, value in (("--temperature", temperature), ("--top-p", top_p)):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{option}: {value} is no number that can be used")
    return Generation(temperature, top_p, max_tokens, seed)


def seconds(text: str) -> float:
    """From "90", "90.5", "1:30" or "0:01:30.5". Raises ValueError."""
    if not re.fullmatch(r"\d+(?:\.\d+)?|(?:\d+:)?[0-5]?\d:[0-5]?\d(?:\.\d+)?", text):
        raise ValueError(f"{text!r} is no time; give seconds, or 1:30, or 0:01:30.5")
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total
