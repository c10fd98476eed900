"""Shell completion: print or install the script that completes `mdtool` in a shell."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.completion import get_completion_inspect_parameters, install_callback, show_callback

from mdtool.errors import output_errors_for

get_completion_inspect_parameters()  # registers the shells; the options that it returns take no name of a shell


class Shell(StrEnum):
    """A shell that completion can be installed in; `auto` detects the one that runs the program."""

    auto = "auto"
    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"
    pwsh = "pwsh"


OPTIONS = ("--install-completion", "--show-completion")


def with_shell(arguments: list[str]) -> list[str]:
    """Return the arguments of the program with `auto` after a completion option that names no shell."""
    return [*arguments, Shell.auto.value] if arguments[-1:] and arguments[-1] in OPTIONS else arguments


def _eager(callback: Callable[..., Any]) -> Callable[..., Any]:
    def run(ctx: typer.Context, param: typer.CallbackParam, value: Shell | None) -> None:
        if value is not None:
            callback(ctx, param, True if value is Shell.auto else value.value)

    return run


def _show(*arguments: Any) -> None:
    """Print the completion script and exit, with an error of stdout as elsewhere."""
    with output_errors_for("stdout"):
        show_callback(*arguments)


Install = Annotated[
    Shell | None,
    typer.Option(
        OPTIONS[0], help="Install completion for this shell.", callback=_eager(install_callback),
        is_eager=True, expose_value=False, metavar="[SHELL]",
    ),
]  # fmt: skip
Show = Annotated[
    Shell | None,
    typer.Option(
        OPTIONS[1],
        help="Print the completion script for this shell: bash, zsh, fish, powershell. Default: the current shell.",
        callback=_eager(_show), is_eager=True, expose_value=False, metavar="[SHELL]",
    ),
]  # fmt: skip
