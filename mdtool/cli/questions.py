"""Make requests of the questions of `mdtool query`."""

from collections.abc import Sequence
from pathlib import Path

from engine.contract import Choices, Generation, Number, QueryRequest
from mdtool.cli.arguments import QUESTION, split_arguments
from mdtool.cli.options.questions import QuestionOptions
from mdtool.cli.values import check_exclusive, parsed
from mdtool.errors import NoInputFound, UsageError
from mdtool.media.files import stdin

BLANK = "{}"  # where a template takes the question


def query_requests(
    arguments: Sequence[str],
    options: QuestionOptions,
    generation: Generation,
    *,
    listed: bool,
    preset: bool = False,
) -> tuple[list[str], list[QueryRequest]]:
    """Return the inputs that the arguments name, and a request without its image for each question.

    Args:
        arguments: As typed: inputs, and last the question where no option gives one.
        options: Questions and constraints; those typed come before those of a file.
        generation: How the answers are generated.
        listed: Whether a file names more inputs.
        preset: Whether --question is from settings, which an argument overrides.

    Raises:
        UsageError: Options that can't be, or not together; no question, or no input.
        NoInputFound: The file has no question.
    """
    allowed = _allowed(options.choices, options.number)
    template, file = options.template, options.questions
    if template is not None and BLANK not in template:
        raise UsageError(f"--template: has no {BLANK} for the question; write it as in 'is there a {BLANK} here?'")
    if file is None or options.question:
        inputs, typed = split_arguments(arguments, options.question, QUESTION, listed=listed, preset=preset)
    else:
        inputs, typed = list(arguments), []
    if file == "-" and "-" in inputs:
        raise UsageError("--questions -: questions and an image can't both come from stdin; give one of them as a file")
    if file == "":
        raise UsageError("--questions: empty; give the name of a file")
    questions = [*typed, *(_read(file) if file is not None else [])]
    if template is not None:
        questions = [template.replace(BLANK, question) for question in questions]
    places = tuple(parsed("--at", parse_place, text) for text in options.at)
    return inputs, [
        QueryRequest(None, question, options.reasoning, places, generation, allowed=allowed, system=options.system)
        for question in questions
    ]


def parse_place(text: str) -> tuple[float, ...]:
    """Parse a point "x,y" or a box "x0,y0,x1,y1" in normalised coordinates, 0 to 1. Raises ValueError."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 4) or not all(0 <= number <= 1 for number in numbers):
        raise ValueError(f"{text!r} is not a point X,Y or a box X0,Y0,X1,Y1 in normalised coordinates, 0 to 1")
    if len(numbers) == 4 and not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise ValueError(f"{text!r} is not a box: give its top left corner first, then its bottom right one")
    return numbers


def _allowed(choices: Sequence[str], number: bool) -> Choices | Number | None:
    if number:
        check_exclusive("--number", {"--choices": choices})
        return Number()
    return parsed("--choices", _choices, ",".join(choices)) if choices else None


def _choices(text: str) -> Choices:
    return Choices(tuple(choice.strip() for choice in text.split(",")))


def _read(file: str) -> list[str]:
    """Return the lines of a file, or of stdin for "-", that are not blank."""
    option = f"--questions {file}"
    try:
        data = stdin.open_stdin("questions").read() if file == "-" else Path(file).read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NoInputFound(f"{option}: there is no such file") from error
    except OSError as error:
        raise UsageError(f"{option}: can't be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: not text in UTF-8") from error
    if "\0" in text:
        raise UsageError(f"{option}: not text")
    questions = [line.strip() for line in text.split("\n") if line.strip()]
    if not questions:
        raise NoInputFound(f"{option}: has no question; write one per line")
    return questions
