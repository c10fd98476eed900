"""`-V/--version`, before and after every command."""

from typing import cast

import pytest
import typer
from cli_runner import run
from typer.core import TyperGroup

from mdtool import __version__, settings
from mdtool.cli import app

COMMANDS = [list(words) for words in settings.commands_of(cast(TyperGroup, typer.main.get_command(app)))]


@pytest.mark.parametrize("command", [[], ["models"], ["config"], *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_printed(command: list[str], option: str) -> None:
    outcome = run(*command, option)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.decode() == f"mdtool {__version__}\n"
