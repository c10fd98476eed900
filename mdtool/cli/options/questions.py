"""Options for the questions of `mdtool query`."""

from dataclasses import dataclass, field
from typing import Annotated

import typer


@dataclass(frozen=True)
class QuestionOptions:
    """The questions, and the constraints on their answers."""

    question: Annotated[
        list[str], typer.Option(help="Question, instead of the last argument. Repeatable.", metavar="TEXT")
    ] = field(default_factory=list)
    questions: Annotated[
        str | None,
        typer.Option(
            help="Read questions from this file, or - for stdin, one per line; from a .toml or .json file with "
            "constraints of their own. All arguments are then images.",
            metavar="FILE|-",
        ),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(help="Prompt template, in which each question replaces {}.", metavar="TEXT"),
    ] = None
    choices: Annotated[
        list[str],
        typer.Option(help="Constrain the answer to one of these, such as yes,no. Repeatable.", metavar="A,B"),
    ] = field(default_factory=list)
    number: Annotated[bool, typer.Option("--number", help="Constrain the answer to a number.")] = False
    at: Annotated[
        list[str],
        typer.Option(
            "--at",
            help="Ask about a point X,Y or a box X0,Y0,X1,Y1, in normalised coordinates (0 to 1, origin top left). "
            "Repeatable.",
            metavar="X,Y|X0,Y0,X1,Y1",
        ),
    ] = field(default_factory=list)
    system: Annotated[
        str | None,
        typer.Option(help="System message for a model that can chat: what it should be or do.", metavar="TEXT"),
    ] = None
    reasoning: Annotated[
        bool | None,
        typer.Option(
            "--reasoning/--no-reasoning",
            help="Reason before answering; --json includes the reasoning. Default: the model's.",
        ),
    ] = None
