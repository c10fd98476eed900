"""Positional arguments of the commands that analyse images: inputs first, then prompts or questions."""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from mdtool.cli.values import check_not_blank
from mdtool.errors import UsageError
from mdtool.media.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mdtool.media.sources.address import parse_address
from mdtool.media.sources.archive import ARCHIVE_SUFFIXES

MEDIA = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *ARCHIVE_SUFFIXES)


@dataclass(frozen=True)
class LastArgument:
    """What the last argument of a command is.

    Attributes:
        noun: What messages call it.
        option: The option that takes its place.
        example: As one would type it in a shell.
    """

    noun: str
    option: str
    example: str


PROMPT = LastArgument("prompt", "--prompt", "face")
QUESTION = LastArgument("question", "--question", '"what is this?"')


def is_preset(ctx: typer.Context, option: str) -> bool:
    """Return whether an option, by the name of its parameter, has its value from a settings file or the environment."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name in ("DEFAULT_MAP", "ENVIRONMENT")


def split_arguments(
    arguments: Sequence[str], given: Sequence[str], last: LastArgument, *, listed: bool, preset: bool = False
) -> tuple[list[str], list[str]]:
    """Split the arguments of a command into its inputs and its prompts or questions.

    Args:
        arguments: As typed: inputs, and after them the prompt or question unless an option gave some.
        given: What the option gave.
        last: Which of the two it is.
        listed: Whether a file names more inputs, so that the arguments need not.
        preset: Whether `given` is from settings: then a last argument that is no input overrides it.

    Raises:
        UsageError: The prompt or question is missing or blank, or no input is named.
    """
    alone = len(arguments) == 1 and not listed
    if given and not (preset and arguments and not alone and _is_text(arguments[-1])):
        check_not_blank(last.option, given)
        return list(arguments), list(given)
    if not arguments:
        raise UsageError(f"the {last.noun} is missing: put it last, as in: photo.jpg {last.example}")
    *inputs, text = arguments
    if what := _input_kind(text, alone=not inputs):
        raise UsageError(
            f"the {last.noun} is missing: {text} is {what}; put the {last.noun} last, as in: {text} {last.example} "
            f"(or give it with {last.option})"
        )
    if not inputs and not listed:
        raise UsageError(f"{text!r}: no image is named before this {last.noun}; as in: photo.jpg {last.example}")
    check_not_blank(f"the {last.noun}", [text])
    return inputs, [text]


def _is_text(text: str) -> bool:
    """Return whether a last argument can only be a prompt or a question."""
    return not os.path.lexists(text) and _input_kind(text, alone=False) is None


def _input_kind(text: str, *, alone: bool) -> str | None:
    """Return what kind of input a last argument names, None for a prompt or a question.

    A word that happens to be the name of a folder, or of a file without an extension, is a prompt where inputs stand
    before it.
    """
    if text == "-":
        return "standard input"
    if address := parse_address(text):
        return "a URL" if address.camera is None else "a camera"
    if os.path.lexists(text):
        is_folder = os.path.isdir(text)
        is_input = alone or os.sep in text or (not is_folder and bool(Path(text).suffix))
        return ("a folder" if is_folder else "a file") if is_input else None
    if re.search(r"\s", text):
        return None
    is_media_file = text.lower().endswith(MEDIA)
    if glob.has_magic(text) and (is_media_file or any(glob.iglob(text))):
        return "a pattern of files"
    return "a file that does not exist" if is_media_file else None
