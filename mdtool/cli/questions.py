"""Make requests of the questions of `mdtool query`."""

from collections.abc import Sequence
from dataclasses import replace

from engine.contract import Choices, Generation, Number, QueryRequest
from mdtool.cli.arguments import QUESTION, split_arguments
from mdtool.cli.options.questions import QuestionOptions
from mdtool.cli.question_file import Question, read_questions
from mdtool.cli.values import check_exclusive, parsed
from mdtool.errors import UsageError

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
    places = tuple(parsed("--at", parse_place, text) for text in options.at)
    common = QueryRequest(None, "", options.reasoning, places, generation, allowed=allowed, system=options.system)
    questions = [*map(Question, typed), *(read_questions(file) if file is not None else [])]
    if template is not None:
        questions = [replace(one, text=template.replace(BLANK, one.text)) for one in questions]
    return inputs, [_request(one, common, f"--questions {file}") for one in questions]


def _request(question: Question, common: QueryRequest, source: str) -> QueryRequest:
    """Return the request for a question; what it leaves open is that of `common`. `source` names its file in errors."""
    allowed, generation = common.allowed, common.generation
    where = f"{source}: {question.text!r}"
    try:
        if question.choices is not None:
            allowed = Choices(question.choices)
        if question.number:
            allowed = Number()
        own = {name: getattr(question, name) for name in ("max_tokens", "temperature")}
        generation = replace(generation, **{name: value for name, value in own.items() if value is not None})
        references = common.references if question.at is None else tuple(map(check_place, question.at))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    if question.max_tokens is not None and question.max_tokens < 1:
        raise UsageError(f"{where}: max_tokens must be 1 or more")
    if question.temperature is not None and question.temperature < 0:
        raise UsageError(f"{where}: temperature must be 0 or more")
    if question.number and question.choices is not None:
        raise UsageError(f"{where}: choices can't be used with number; leave one out")
    if not question.text.strip():
        raise UsageError(f"{source}: a question has no text")
    return replace(
        common,
        question=question.text,
        reasoning=common.reasoning if question.reasoning is None else question.reasoning,
        references=references,
        generation=generation,
        allowed=allowed,
        system=question.system or common.system,
    )


def parse_place(text: str) -> tuple[float, ...]:
    """Parse a point "x,y" or a box "x0,y0,x1,y1" in normalised coordinates, 0 to 1. Raises ValueError."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    return check_place(numbers, repr(text))


def check_place(numbers: tuple[float, ...], text: str = "") -> tuple[float, ...]:
    """Return a point or a box if it is one; ValueError if not. `text` is how it was written."""
    text = text or str(list(numbers))
    if len(numbers) not in (2, 4) or not all(0 <= number <= 1 for number in numbers):
        raise ValueError(f"{text} is not a point X,Y or a box X0,Y0,X1,Y1 in normalised coordinates, 0 to 1")
    if len(numbers) == 4 and not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise ValueError(f"{text} is not a box: give its top left corner first, then its bottom right one")
    return numbers


def _allowed(choices: Sequence[str], number: bool) -> Choices | Number | None:
    if number:
        check_exclusive("--number", {"--choices": choices})
        return Number()
    return parsed("--choices", _choices, ",".join(choices)) if choices else None


def _choices(text: str) -> Choices:
    return Choices(tuple(choice.strip() for choice in text.split(",")))
