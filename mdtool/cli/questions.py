"""What `mdtool query` asks, made of its options."""

from collections.abc import Sequence
from pathlib import Path

from engine.contract import Choices, Generation, Number, QueryRequest
from mdtool.cli.options.questions import QuestionOptions
from mdtool.cli.values import check_exclusive, check_not_blank, parsed
from mdtool.errors import NoInputFound, UsageError
from mdtool.media.files import stdin

BLANK = "{}"  # of a template


def query_requests(question_options: QuestionOptions, how: Generation, images: Sequence[str]) -> list[QueryRequest]:
    """A request without its image for each question: first those asked outright, then those of the file.

    images: as they were named. UsageError for options that can't be, or not together; NoInputFound for a file without
    questions.
    """
    allowed = _allowed(question_options.choices, question_options.number)
    check_not_blank("--question", question_options.question)
    template, file = question_options.template, question_options.questions
    if template is not None and BLANK not in template:
        raise UsageError(f"--template: has no {BLANK} for the question; write it as in 'is there {BLANK} here?'")
    if file == "-" and "-" in images:
        raise UsageError("--questions -: questions and a photo can't both come from stdin; give one of them as a file")
    if file == "":
        raise UsageError("--questions: is empty; give the name of a file")
    questions = [*question_options.question, *(_read(file) if file is not None else [])]
    if not questions:
        raise UsageError("--question or --questions is missing: say what to ask, as in -q 'what is this?'")
    if template is not None:
        questions = [template.replace(BLANK, question) for question in questions]
    places = tuple(parsed("--at", parse_place, text) for text in question_options.at)
    return [
        QueryRequest(None, question, question_options.reasoning, places, how, allowed=allowed) for question in questions
    ]


def parse_place(text: str) -> tuple[float, ...]:
    """Read a point "x,y" or a box "x0,y0,x1,y1", in fractions of the picture; ValueError with one line."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 4) or not all(0 <= number <= 1 for number in numbers):
        raise ValueError(f"a place is a point X,Y or a box X0,Y0,X1,Y1, in fractions of the picture, not {text!r}")
    if len(numbers) == 4 and not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise ValueError(f"a box goes from its upper left to its lower right corner; {text!r} does not")
    return numbers


def _allowed(choices: Sequence[str], number: bool) -> Choices | Number | None:
    if number:
        check_exclusive("--number", {"--choices": choices})
        return Number()
    return parsed("--choices", _choices, ",".join(choices)) if choices else None


def _choices(text: str) -> Choices:
    return Choices(tuple(choice.strip() for choice in text.split(",")))


def _read(file: str) -> list[str]:
    """The lines of a file ("-": stdin) that are not blank."""
    option = f"--questions {file}"
    try:
        data = stdin.open_stdin("questions").read() if file == "-" else Path(file).read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NoInputFound(f"{option}: there is no such file") from error
    except OSError as error:
        raise UsageError(f"{option}: can't be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: is no text in UTF-8") from error
    if "\0" in text:
        raise UsageError(f"{option}: is no text")
    questions = [line.strip() for line in text.split("\n") if line.strip()]
    if not questions:
        raise NoInputFound(f"{option}: has no question in it; write one a line")
    return questions
