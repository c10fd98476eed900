"""What is printed, and what all inputs have in common: how much memory they may take, and where they may lead."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.memory import choose_budget, parse_size
from mdtool.network.reach import allow_private

if TYPE_CHECKING:
    from mdtool.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per image and prompt.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors on stderr.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Report device, dtype, quantisation, kernels and compilation on stderr.")
]


def _choose_budget(size: str | None) -> str | None:
    try:
        choose_budget(None if size is None else parse_size(size))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return size


Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        callback=_choose_budget,
        help="Most memory for decoded frames and pictures: an input that takes more fails, and one that is read ahead "
        "waits until others have left room. Default: a quarter of that of the machine or the container.",
        metavar="SIZE",
    ),
]


def _allow_private(allowed: bool) -> bool:
    allow_private(allowed)
    return allowed


AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private",
        callback=_allow_private,
        help="Let redirects, playlists and names of the public DNS lead into private networks: to this machine, those "
        "near by, a cloud's metadata. Without it only an address that names such a host itself does.",
    ),
]


@dataclass(frozen=True)
class AnswerPrinting:
    """Options of commands that print answers on stdout."""

    json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False
    memory: Memory = None
    allow_private: AllowPrivate = False

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
    memory: Memory = None
    allow_private: AllowPrivate = False

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
