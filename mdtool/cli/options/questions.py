"""What `mdtool query` asks."""

from dataclasses import dataclass, field
from typing import Annotated

import typer


@dataclass(frozen=True)
class QuestionOptions:
    question: Annotated[list[str], typer.Option("--question", "-q", help="What to ask. Repeatable.")] = field(
        default_factory=list
    )
    questions: Annotated[
        str | None,
        typer.Option(help="Ask what is in this file too, a question a line (- for stdin).", metavar="FILE"),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(help="Ask this, with each question in place of {}.", metavar="TEXT"),
    ] = None
    choices: Annotated[
        list[str],
        typer.Option(help="The answer is one of these, whole and as written here: yes,no. Repeatable.", metavar="A,B"),
    ] = field(default_factory=list)
    number: Annotated[bool, typer.Option("--number", help="The answer is a number.")] = False
    at: Annotated[
        list[str],
        typer.Option(
            "--at",
            help="Ask about this place: a point X,Y or a box X0,Y0,X1,Y1, in fractions of the picture from its top "
            "left. Repeatable.",
            metavar="X,Y|X0,Y0,X1,Y1",
        ),
    ] = field(default_factory=list)
    reasoning: Annotated[
        bool | None,
        typer.Option("--reasoning/--no-reasoning", help="Think first; --json has the thoughts. Default: the model's."),
    ] = None
