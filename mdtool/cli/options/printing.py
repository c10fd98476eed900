"""What is printed, and how much."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mdtool.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per image and prompt.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors on stderr.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Report device, dtype, quantisation, kernels and compilation on stderr.")
]


@dataclass(frozen=True)
class AnswerPrinting:
    """Options of commands that print answers on stdout."""

    json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False

    @property
    def console(self) -> "Console":
        """The console that prints accordingly."""
        from mdtool.console import Console

        return Console(self.quiet, verbose=self.verbose)


@dataclass(frozen=True)
class SummaryPrinting:
    """Options of commands that write media and print a summary of each input."""

    json: Annotated[bool, typer.Option("--json", help="Print a summary of each input on stdout, as JSON Lines.")] = (
        False
    )
    quiet: Quiet = False

    @property
    def console(self) -> "Console":
        """The console that prints accordingly."""
        from mdtool.console import Console

        return Console(self.quiet, self.json)


@dataclass(frozen=True)
class RunPrinting(SummaryPrinting):
    """Options of commands that run a model besides."""

    verbose: Verbose = False

    @property
    def console(self) -> "Console":
        """The console that prints accordingly."""
        from mdtool.console import Console

        return Console(self.quiet, self.json, self.verbose)
