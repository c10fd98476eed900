"""`mdtool config`: show settings and their origin; and how the commands get them."""

import json as json_module
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, TypeVar, cast

import typer
from typer.core import TyperGroup

from mdtool import settings
from mdtool.cli.completion import with_shell
from mdtool.console import Console
from mdtool.errors import ExitCode, MdtoolError, UsageError
from mdtool.escaping import one_line
from mdtool.interruption import raise_if_interrupted
from mdtool.settings import CommandPath, Commands, SettingLocation, Settings
from mdtool.stdout import write_json_record, write_stdout

T = TypeVar("T")
VERSION = ("-V", "--version")


class CommandContext(typer.Context):
    """The context of a command that takes settings: adds to an error where the settings it names come from."""

    def invoke(self, callback: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Invoke the command; an error gets a note on each setting that it names, an engine error an exit code too."""
        for path, keys in settings.hiding_keys(self, _words(self), self.obj or {}).items():
            Console(bool(self.params.get("quiet"))).note(f"{path} changes what is hidden: it sets {', '.join(keys)}")
        try:
            return super().invoke(callback, *args, **kwargs)
        except MdtoolError as error:
            if error.code == ExitCode.MODEL:
                raise_if_interrupted()  # an interruption may surface as an error of the library that it hit
            self._add_origins(error)
            raise
        except Exception as error:
            from engine.contract import EngineError  # takes long to load, and is there if there is an error of it
            from mdtool.model_selection import ending_error

            if not isinstance(error, EngineError):
                raise
            ended = ending_error(error)
            self._add_origins(ended)
            raise ended from error

    def _add_origins(self, error: MdtoolError) -> None:
        for key, where in self._named_in(str(error)):
            error.add_note(f"{key} is set {'in' if isinstance(where, SettingLocation) else 'by'} {where}")

    def _named_in(self, message: str) -> Iterator[tuple[str, SettingLocation | str]]:
        command = cast(Any, self.command)
        for key, option in settings.options_of(command).items():
            where = settings.origin(self, _words(self), option, self.obj or {})
            values = self.params[option.name] if option.multiple else [self.params[option.name]]
            quoted = any(isinstance(value, str) and value and value in message for value in values)
            if where and (quoted or re.search(rf"(?<![\w-]){key}(?![\w-])", message.replace("--", ""))):
                yield key, where


def _words(ctx: typer.Context) -> CommandPath:
    parent = cast(typer.Context | None, ctx.parent)
    return () if parent is None else (*_words(parent), ctx.info_name or "")


class ConfiguredGroup(TyperGroup):
    """The program: settings files and environment variables give its options values, but not those of `config`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        _add_version(self, next(param for param in self.params if param.name == "version"))
        _set_help(self, self.context_settings)
        settings.enable_environment_variables(_commands(self))
        for command in _commands(self).values():
            command.context_class = CommandContext

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; shell completion may be requested without a shell's name."""
        return super().parse_args(ctx, with_shell(args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Raise UsageError for a wrong setting, unless only the help or the version is wanted."""
        name, command, rest = super().resolve_command(ctx, args)
        if name != "config" and not ctx.resilient_parsing:
            try:
                ctx.obj = settings.read(_commands(self))
                ctx.default_map = settings.default_map(ctx.obj)
            except UsageError:
                if set(takewhile(lambda word: word != "--", rest)).isdisjoint((*ctx.help_option_names, *VERSION)):
                    raise
        return name, command, rest


def _add_version(group: TyperGroup, version: Any) -> None:
    """Let every command of a group, and every group in it, take the option too."""
    for command in group.commands.values():
        command.params.append(version)
        if isinstance(command, TyperGroup):
            _add_version(command, version)


def _set_help(command: Any, context_settings: Any) -> None:
    """Let `_print_help` print the help text of a command, and of a group's commands."""
    command.get_help_option(typer.Context(command, **context_settings)).callback = _print_help
    for inner in getattr(command, "commands", {}).values():
        _set_help(inner, context_settings)


def _print_help(ctx: Any, _: Any, wanted: bool) -> None:
    """Print the help text and end the command, as typer does; raises as `write_stdout`."""
    if wanted and not ctx.resilient_parsing:
        write_stdout(f"{ctx.get_help()}\n")
        ctx.exit()


def _commands(program: TyperGroup) -> Commands:
    return {words: one for words, one in settings.commands_of(program).items() if words[0] != "config"}


def _program(ctx: typer.Context) -> TyperGroup:
    return cast(TyperGroup, ctx.find_root().command)


@dataclass(frozen=True)
class Row:
    """An option, its value as the command gets it, and its origin; None is the built-in default."""

    command: str
    option: str
    value: Any
    where: SettingLocation | str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it."""
        record = {"command": self.command, "option": self.option, "value": self.value}
        if isinstance(self.where, SettingLocation):
            return record | {"from": "file", "path": str(self.where.path), "line": self.where.line}
        if self.where:
            return record | {"from": "environment", "variable": self.where}
        return record | {"from": "default"}

    def columns(self) -> list[str]:
        """Return the row as text, without line breaks or control characters."""
        value = self.value if isinstance(self.value, str) else json_module.dumps(self.value, ensure_ascii=False)
        texts = (self.command, self.option, "" if self.value is None else value, self.where or "default")
        return [one_line(str(text)) for text in texts]


def _rows(commands: Commands, given: Settings) -> Iterator[Row]:
    defaults = settings.default_map(given)
    for words, command in commands.items():
        table = defaults
        for word in words:
            table = table.get(word, {})
        ctx: Any = command.make_context(words[-1], [], default_map=table, resilient_parsing=True)
        for key, option in settings.options_of(command).items():
            where = settings.origin(ctx, words, option, given)
            yield Row(" ".join(words), key, _plain(ctx.params[option.name]), where)


def _plain(value: Any) -> Any:
    """Convert an option's value to JSON types: enumerations and paths to strings, tuples to lists."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _print_table(rows: list[Row]) -> None:
    from rich.console import Console as RichConsole
    from rich.markup import escape
    from rich.table import Table

    table = Table("command", "option", "value", "from")
    for row in rows:
        table.add_row(*map(escape, row.columns()))
    RichConsole(highlight=False).print(table)


def _next_words(ctx: typer.Context) -> list[str]:
    """Complete the next word of a command's name."""
    given = tuple(ctx.params.get("command") or ())
    known = [words for words in _commands(_program(ctx)) if words[: len(given)] == given and len(words) > len(given)]
    return list(dict.fromkeys(words[len(given)] for words in known))


app = typer.Typer(help="Show settings and where they come from.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show settings and where they come from."""


@app.command()
def show(
    ctx: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(
            help="Show all options of this command. Default: the options of all commands that have a setting.",
            metavar="[COMMAND]",
            autocompletion=_next_words,
        ),
    ] = [],
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per option.")] = False,
) -> None:
    """Show the values of options and where they come from.

    Prints a table on a terminal. In a pipe each option is one line: command, option, value, and origin (file and line,
    environment variable, or "default"), separated by tabs.

    \b
    mdtool config show redact
    """
    commands, words = _commands(_program(ctx)), tuple(command)
    chosen = {known: one for known, one in commands.items() if known[: len(words)] == words}
    if not chosen:
        name = " ".join(words)
        raise UsageError(
            f"{name!r}: no such command has settings; {settings.suggestion(name, [' '.join(c) for c in commands])}"
        )
    rows = list(_rows(chosen, settings.read(commands)))
    if not words:
        rows = [row for row in rows if row.where]
    if json:
        for row in rows:
            write_json_record(row.as_dict())
    elif not rows:
        Console().note("no settings: every option has its default (`mdtool config show redact` lists those of redact)")
    elif sys.stdout.isatty():
        _print_table(rows)
    else:
        write_stdout("".join("\t".join(row.columns()) + "\n" for row in rows))


@app.command()
def path() -> None:
    """Print the settings files that are read, one a line; the first takes precedence.

    \b
    mdtool config path
    """
    found = settings.files()
    write_stdout("".join(f"{one_line(str(file))}\n" for file in found))
    if not found:
        user = settings.user_file()
        places = f"{settings.CONFIG_FILE} in this folder or one above" + (f", or {user}" if user else "")
        Console().note(f"no settings file; create {places}")
