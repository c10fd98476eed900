"""Files of questions: one per line, or in TOML or JSON, where each has constraints and parameters of its own."""

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from engine.checkpoints.json_config import read_dataclass
from engine.contract import ModelUnavailable
from mdtool.errors import NoInputFound, UsageError, read_error_message
from mdtool.media.files import stdin

STRUCTURED = (".toml", ".json")


@dataclass(frozen=True)
class Question:
    """A question; None: as the options of the command line say.

    Attributes:
        text: What is asked.
        choices: What the answer must be one of.
        number: Whether the answer must be a number.
        at: Points (x, y) or boxes (x0, y0, x1, y1) that it refers to, in fractions of the image.
        system: A system message.
        reasoning: Whether the model reasons first.
        max_tokens: Limit of the answer.
        temperature: Of sampling.
    """

    text: str
    choices: tuple[str, ...] | None = None
    number: bool = False
    at: tuple[tuple[float, ...], ...] | None = None
    system: str | None = None
    reasoning: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class QuestionFile:
    """A file of questions.

    Attributes:
        question: The questions, in order.
        system: The system message of those that have none.
    """

    question: tuple[Question, ...]
    system: str | None = None


def read_questions(file: str) -> list[Question]:
    """Read questions from a file in TOML or JSON, by its suffix, or from the lines of another one, or of stdin for "-".

    Raises:
        UsageError: The file can't be read, or is not in the form.
        NoInputFound: There is no such file, or no question in it.
    """
    option = f"--questions {file}"
    text = _text(file, option)
    if not file.lower().endswith(STRUCTURED):
        questions = [Question(line.strip()) for line in text.split("\n") if line.strip()]
        if not questions:
            raise NoInputFound(f"{option}: has no question; write one per line")
        return questions
    try:
        data = tomllib.loads(text) if file.lower().endswith(".toml") else json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = file[-4:].upper()
        raise UsageError(f"{option}: not valid {kind}: {error}") from error
    try:
        read = read_dataclass(QuestionFile, data, option)
    except ModelUnavailable as error:
        raise UsageError(str(error)) from error
    if not read.question:
        raise NoInputFound(f'{option}: has no question; write [[question]] and text = "..." for each')
    return [replace(one, system=one.system or read.system) for one in read.question]


def _text(file: str, option: str) -> str:
    try:
        data = stdin.open_stdin("questions").read() if file == "-" else Path(file).read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NoInputFound(f"{option}: there is no such file") from error
    except OSError as error:
        raise UsageError(f"{option}: {read_error_message(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: not text in UTF-8") from error
    if "\0" in text:
        raise UsageError(f"{option}: not text")
    return text
