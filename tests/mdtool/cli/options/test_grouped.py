"""Dataclasses of options, in a command of their own."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from mdtool.cli.options.grouped import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="Of the picture.")] = 4
    height: Annotated[int | None, typer.Option("--height", "-h")] = None


@dataclass(frozen=True)
class Named:
    name: Annotated[str, typer.Argument()]
    tags: Annotated[list[str], typer.Option("--tag")] = field(default_factory=list)


@dataclass(frozen=True)
class Wide(Size):
    width: Annotated[int, typer.Option(help="Of a wide picture.")] = 16


def ran(command: Any, *arguments: str) -> Any:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(command)
    return CliRunner().invoke(app, arguments)


def test_the_command_gets_instances_made_of_the_options() -> None:
    got: list[object] = []

    @grouped
    def command(*, named: Named, loud: bool = False, size: Size) -> None:
        got.extend([named, loud, size])

    assert ran(command, "sun", "--width", "7", "-h", "2", "--loud", "--tag", "a", "--tag", "b").exit_code == 0
    assert ran(command, "moon").exit_code == 0
    assert got == [Named("sun", ["a", "b"]), True, Size(7, 2), Named("moon", []), False, Size(4, None)]


def test_options_stand_where_the_dataclass_does() -> None:
    @grouped
    def command(*, before: int = 1, size: Size, after: int = 2) -> None:
        """Does it."""

    said = ran(command, "--help").output
    assert "Does it." in said
    assert re.findall(r"--(?!help)\w+", said) == ["--before", "--width", "--height", "--after"]
    assert "Of the picture." in said


def test_what_an_option_says_of_its_values_holds() -> None:
    @grouped
    def command(*, size: Size) -> None:
        raise AssertionError

    outcome = ran(command, "--width", "0")
    assert outcome.exit_code == 2
    assert "--width" in outcome.output


def test_a_default_of_the_parameter_goes_before_those_of_the_dataclass() -> None:
    got: list[Size] = []
    usual = Size(height=9)

    @grouped
    def command(*, size: Size = usual) -> None:
        got.append(size)

    ran(command)
    ran(command, "--width", "1")
    assert got == [Size(4, 9), Size(1, 9)]


def test_a_dataclass_that_says_something_else_of_an_option_leaves_it_in_its_place() -> None:
    got: list[Size] = []

    @grouped
    def command(*, size: Wide) -> None:
        got.append(size)

    said = ran(command, "--help").output
    assert re.findall(r"--(?!help)\w+", said) == ["--width", "--height"]
    assert "Of a wide picture." in said
    ran(command)
    assert got == [Wide(16, None)]


def test_a_list_is_no_ones_default_twice() -> None:
    got: list[Named] = []

    @grouped
    def command(*, named: Named) -> None:
        named.tags.append("more")
        got.append(named)

    ran(command, "sun")
    ran(command, "moon")
    assert got == [Named("sun", ["more"]), Named("moon", ["more"])]


def test_two_options_of_one_name() -> None:
    def command(*, size: Size, width: int = 1) -> None:
        pass

    with pytest.raises(TypeError, match="command: has options of the same name: width"):
        grouped(command)
