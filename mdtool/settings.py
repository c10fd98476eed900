"""Settings: values of options that come from files and from the environment.

A file is called mdtool.toml and has a table for each command, its keys the long options without their dashes:

    [defaults]                      # for all commands that have the option
    device = "cuda:1"

    [redact]
    style = "pixelate"
    prompt = ["face", "license plate"]

    [bench.redact]
    runs = 5

An option's built-in default yields to the user's file, that to the project's, that to the environment, and that to the
command line. Within a file a command's own table goes before [defaults]. In the environment MDTOOL_BENCH_REDACT_RUNS
goes before MDTOOL_RUNS, which is there for options that several commands have; a variable for a repeatable option holds
a value a line. All of it goes through click (`default_map`, `envvar`), so that what a value may be is said where the
option is declared, and nowhere else.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from mdtool.errors import UsageError

CONFIG_FILE = "mdtool.toml"
DEFAULTS_TABLE = "defaults"  # the table for all commands
PREFIX = "MDTOOL_"
OTHER_VARIABLES = frozenset({"MDTOOL_DEBUG"})  # of the program's own, that are no option

CommandPath = tuple[str, ...]  # a command: ("redact",) or ("bench", "redact")
Commands = Mapping[CommandPath, TyperCommand]


@dataclass(frozen=True)
class SettingLocation:
    """Where in a file. line: from 1 on; None where it is not found."""

    path: Path
    line: int | None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


@dataclass(frozen=True)
class Setting:
    """What a file says about an option, as TOML has it."""

    value: Any
    location: SettingLocation


Settings = Mapping[tuple[CommandPath, str], Setting]  # by command, and the name of the option's parameter


def commands_of(group: TyperGroup) -> dict[CommandPath, TyperCommand]:
    """All that can be run, those of inner groups too."""
    found: dict[CommandPath, TyperCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            found |= {(name, *words): inner for words, inner in commands_of(command).items()}
        elif isinstance(command, TyperCommand):
            found[(name,)] = command
    return found


def options_of(command: TyperCommand) -> dict[str, TyperOption]:
    """Those that settings can give, by their key: secrets are left out."""
    options = [param for param in command.params if isinstance(param, TyperOption) and not param.hide_input]
    return {max(option.opts, key=len).lstrip("-"): option for option in options}


def enable_environment_variables(commands: Commands) -> None:
    """Lets each option take its value from the environment too."""
    shared = _shared(commands)
    for words, command in commands.items():
        for key, option in options_of(command).items():
            option.envvar = [_variable(*words, key)] + ([_variable(key)] if key in shared else [])
            option.show_envvar = False  # --help stays short
            setattr(option, "envvar_list_splitter", "\n")  # noqa: B010 - values may have spaces


def files() -> list[Path]:
    """Those that are read, of which the first goes before the other: the project's, the user's."""
    return list(dict.fromkeys(path for path in (_project_file(), user_file()) if path and os.path.isfile(path)))


def user_file() -> Path | None:
    """By the XDG base directory specification, which wants relative folders to be ignored."""
    for folder in (os.environ.get("XDG_CONFIG_HOME", ""), os.path.expanduser("~/.config")):
        if os.path.isabs(folder):
            return Path(folder) / "mdtool" / CONFIG_FILE
    return None


def _project_file() -> Path | None:
    """In the working directory, or the nearest one above that has it."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None
    return next((path for folder in (here, *here.parents) if os.path.isfile(path := folder / CONFIG_FILE)), None)


def read(commands: Commands) -> Settings:
    """What the files say. UsageError for anything in them or in the environment that no option takes."""
    _check_environment(commands)
    settings: dict[tuple[CommandPath, str], Setting] = {}
    for path in reversed(files()):
        settings |= _read_file(path, commands)
    return settings


def default_map(settings: Settings) -> dict[str, Any]:
    """In the form of click: nested as the commands are."""
    nested: dict[str, Any] = {}
    for (words, name), setting in settings.items():
        table = nested
        for word in words:
            table = table.setdefault(word, {})
        table[name] = setting.value
    return nested


def origin(
    ctx: typer.Context, words: CommandPath, option: TyperOption, settings: Settings
) -> SettingLocation | str | None:
    """Where an option's value is from: a file or the variable of this name; None: command line or built-in default."""
    source = ctx.get_parameter_source(option.name)
    if source is not None and source.name == "DEFAULT_MAP":
        return settings[words, option.name].location
    if source is not None and source.name == "ENVIRONMENT":
        return next(name for name in option.envvar or () if os.environ.get(name))
    return None


def suggestion(word: str, known: Collection[str], command: str = "mdtool") -> str:
    """The end of a message: the known word that may have been meant, else what shows them all."""
    close = get_close_matches(word, known, n=1, cutoff=0.75)  # variables begin alike
    return f"did you mean {close[0]}?" if close else f"`{command} --help` shows what there is"


def _shared(commands: Commands) -> set[str]:
    """The keys that several commands have."""
    times = Counter(key for command in commands.values() for key in options_of(command))
    return {key for key in times if times[key] > 1}


def _variable(*words: str) -> str:
    return PREFIX + "_".join(words).upper().replace("-", "_")


def _check_environment(commands: Commands) -> None:
    takers: dict[str, list[tuple[TyperCommand, TyperOption]]] = {}
    for command in commands.values():
        for option in options_of(command).values():
            for name in option.envvar or ():
                takers.setdefault(name, []).append((command, option))
    for name, value in os.environ.items():
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        if name not in takers:
            raise UsageError(f"{name}: a variable of the environment that sets no option; {suggestion(name, takers)}")
        for command, option in takers[name]:
            if value:  # click takes an empty one as not set
                try:
                    _made(command, option, value.split("\n") if option.multiple else value)
                except ValueError as error:
                    raise UsageError(f"{name}: {error}") from error


def _head(table: CommandPath) -> str:
    """As a file has it."""
    return f"[{'.'.join(table)}]"


@dataclass(frozen=True)
class _File:
    path: Path
    text: str

    def location(self, table: CommandPath, key: str | None) -> SettingLocation:
        """Of a key, or of the head of its table; no line where these are written in other ways, such as a.b = 1."""
        current = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            if head := re.match(r"""\s*\[([\w\s."'-]+)\]\s*(#.*)?$""", line):
                current = re.sub(r"""[\s"']""", "", head[1])
                if key is None and current == ".".join(table):
                    return SettingLocation(self.path, number)
            elif key and current == ".".join(table) and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return SettingLocation(self.path, number)
        return SettingLocation(self.path, None)

    def wrong(self, table: CommandPath, key: str | None, what: str) -> UsageError:
        named = ([_head(table)] if table else []) + ([key] if key else [])
        return UsageError(f"{self.location(table, key)}: {' '.join(named)}: {what}")


def _read_file(path: Path, commands: Commands) -> dict[tuple[CommandPath, str], Setting]:
    import tomllib

    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is no TOML: {error}") from error
    file = _File(path, text)
    shared = _read_shared(file, tables.pop(DEFAULTS_TABLE, {}), commands)
    return shared | _read_tables(file, tables, (), commands)


def _read_shared(file: _File, table: Any, commands: Commands) -> dict[tuple[CommandPath, str], Setting]:
    found = {}
    if not isinstance(table, dict):
        raise file.wrong((), DEFAULTS_TABLE, f"is a table: write {_head((DEFAULTS_TABLE,))}")
    shared = _shared(commands)
    for key, value in table.items():
        takers = [words for words, command in commands.items() if key in options_of(command)]
        if key not in shared:
            if takers:
                raise file.wrong(
                    (DEFAULTS_TABLE,), key, f"only one command has this option; put it under {_head(takers[0])}"
                )
            raise file.wrong((DEFAULTS_TABLE,), key, f"no commands share such an option; {suggestion(key, shared)}")
        for words in takers:
            try:
                name = _checked(commands[words], options_of(commands[words])[key], value)
            except ValueError as error:
                raise file.wrong((DEFAULTS_TABLE,), key, f"{error} (for `mdtool {' '.join(words)}`)") from error
            found[words, name] = Setting(value, file.location((DEFAULTS_TABLE,), key))
    return found


def _read_tables(
    file: _File, tables: Mapping[str, Any], group: CommandPath, commands: Commands
) -> dict[tuple[CommandPath, str], Setting]:
    """The tables of the commands of a group; () for those of the program itself."""
    found: dict[tuple[CommandPath, str], Setting] = {}
    for name, table in tables.items():
        words = (*group, name)
        inner = list(dict.fromkeys(known[: len(words)] for known in commands if known[: len(group)] == group))
        if words not in inner:
            if not isinstance(table, dict):
                raise file.wrong(group, name, f"belongs under the name of a command, such as {_head(inner[0])}")
            meant = suggestion(_head(words), [_head(one) for one in (*inner, (DEFAULTS_TABLE,))])
            raise file.wrong(words, None, f"no such command takes settings; {meant}")
        if not isinstance(table, dict):
            raise file.wrong(group, name, f"is a table: write {_head(words)}")
        if words in commands:
            found |= _read_options(file, table, words, commands[words])
        else:
            found |= _read_tables(file, table, words, commands)
    return found


def _read_options(
    file: _File, table: Mapping[str, Any], words: CommandPath, command: TyperCommand
) -> dict[tuple[CommandPath, str], Setting]:
    found = {}
    options = options_of(command)
    for key, value in table.items():
        if key not in options:
            if any(key == param.name and not isinstance(param, TyperOption) for param in command.params):
                raise file.wrong(words, key, "is an argument, which only the command line can give")
            raise file.wrong(words, key, f"no such option; {suggestion(key, options, ' '.join(['mdtool', *words]))}")
        try:
            name = _checked(command, options[key], value)
        except ValueError as error:
            raise file.wrong(words, key, str(error)) from error
        found[words, name] = Setting(value, file.location(words, key))
    return found


def _checked(command: TyperCommand, option: TyperOption, value: Any) -> str:
    """The name of the option's parameter. ValueError for a value that it does not take."""
    if not isinstance(value, bool | int | float | str | list):
        raise ValueError(f"takes no {'table' if isinstance(value, dict) else 'date or time'}")
    if option.multiple and not isinstance(value, list):
        raise ValueError(f"takes a list, not {_shown(value)}: write [{_shown(value)}]")
    if value == [] and option.default:  # as no command line can say: nothing would be hidden
        raise ValueError("takes at least one value")
    made = _made(command, option, value)
    if not _is_natural(value, made):
        raise ValueError(f"takes {_kind(made)}, not {_shown(value)}")
    return option.name


def _made(command: TyperCommand, option: TyperOption, value: Any) -> Any:
    """What the option makes of a value. ValueError if it refuses it."""
    try:
        return option.process_value(typer.Context(command), value)
    except TyperException as error:
        raise ValueError(error.message.removeprefix("Value error, ").rstrip(".")) from error


def _is_natural(value: Any, made: Any) -> bool:
    """Whether a value of TOML had the type of what the option made of it; a number may stand for its digits."""
    if isinstance(made, list | tuple):
        return isinstance(value, list) and all(map(_is_natural, value, made))
    if isinstance(made, bool) or isinstance(value, bool):
        return value is made
    return isinstance(value, int | float if isinstance(made, int | float) else int | float | str)


def _kind(made: Any) -> str:
    if isinstance(made, list | tuple):
        return f"a list of {_kind(made[0])}" if made else "a list"
    if isinstance(made, bool):
        return "true or false"
    return "a number" if isinstance(made, int | float) else "text"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
