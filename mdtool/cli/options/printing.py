"""What is printed, and how much."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mdtool.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each photo (and prompt).")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what the model computes with, and why, on stderr.")]


@dataclass(frozen=True)
class AnswerPrinting:
    """Of commands that print answers; what is said on stderr is apart from these."""

    json: Json = False
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False
    verbose: Verbose = False

    @property
    def console(self) -> "Console":
        from mdtool.console import Console

        return Console(self.quiet, verbose=self.verbose)


@dataclass(frozen=True)
class SummaryPrinting:
    """Of commands that make changed copies, and say a line about each."""

    json: Annotated[bool, typer.Option("--json", help="Print a summary of each input on stdout, as JSON Lines.")] = (
        False
    )
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False

    @property
    def console(self) -> "Console":
        from mdtool.console import Console

        return Console(self.quiet, self.json)


@dataclass(frozen=True)
class RunPrinting(SummaryPrinting):
    """Where a model is used besides."""

    verbose: Verbose = False

    @property
    def console(self) -> "Console":
        from mdtool.console import Console

        return Console(self.quiet, self.json, self.verbose)
