"""Settings: values of options from files and environment variables.

A settings file, mdtool.toml, has a table per command; its keys are the long options without their dashes:

    [defaults]                      # for all commands that have the option
    device = "cuda:1"

    [redact]
    style = "pixelate"
    prompt = ["face", "license plate"]

    [bench.redact]
    runs = 5

Precedence, highest first: command line, environment, the project's file, the user's file, built-in default. Within a
file a command's own table precedes [defaults]. In the environment MDTOOL_BENCH_REDACT_RUNS precedes MDTOOL_RUNS, which
exists for options that several commands share; a variable for a repeatable option holds one value per line. All values
pass through Typer (`default_map`, `envvar`), so the declaration of an option is the only place that checks them.
"""

import json
import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from mdtool.errors import UsageError

CONFIG_FILE = "mdtool.toml"
DEFAULTS_TABLE = "defaults"  # the table for all commands
PREFIX = "MDTOOL_"
OTHER_VARIABLES = frozenset({"MDTOOL_API_KEY", "MDTOOL_DEBUG", "MDTOOL_KERNELS"})  # used by the program, but no options

HIDING_COMMANDS = frozenset({"redact", "moderate", "render"})
# Their options that do not change what is hidden.
_HARMLESS = frozenset({
    "codec", "color", "compile", "container", "crf", "delay", "device", "dtype", "duration", "fail-on", "feather",
    "findings", "json", "output", "overwrite", "pixel-format", "preset", "pull", "quiet", "report", "resize", "segment",
    "verbose",
})  # fmt: skip

CommandPath = tuple[str, ...]  # a command: ("redact",) or ("bench", "redact")
Commands = Mapping[CommandPath, TyperCommand]


@dataclass(frozen=True)
class SettingLocation:
    """A place in a file; the line counts from 1, and is None where it is not known."""

    path: Path
    line: int | None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


@dataclass(frozen=True)
class Setting:
    """The value that a file gives an option, as a TOML type."""

    value: Any
    location: SettingLocation


Settings = Mapping[tuple[CommandPath, str], Setting]  # by command, and the name of the option's parameter


def commands_of(group: TyperGroup) -> dict[CommandPath, TyperCommand]:
    """Return all commands, those of nested groups too, by the words that name them."""
    found: dict[CommandPath, TyperCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            found |= {(name, *words): inner for words, inner in commands_of(command).items()}
        elif isinstance(command, TyperCommand):
            found[(name,)] = command
    return found


def options_of(command: TyperCommand) -> dict[str, TyperOption]:
    """Return the options that settings can give, by key: all but secrets and those that print something and exit."""
    options = [
        one for one in command.params if isinstance(one, TyperOption) and one.expose_value and not one.hide_input
    ]
    return {max(option.opts, key=len).lstrip("-"): option for option in options}


def enable_environment_variables(commands: Commands) -> None:
    """Let each option take its value from environment variables too."""
    shared = _shared(commands)
    for words, command in commands.items():
        for key, option in options_of(command).items():
            option.envvar = [_variable(*words, key)] + ([_variable(key)] if key in shared else [])
            option.show_envvar = False  # --help stays short
            setattr(option, "envvar_list_splitter", "\n")  # noqa: B010 - values may have spaces


def files() -> list[Path]:
    """Return the settings files that exist, the project's before the user's, which it takes precedence over."""
    return list(dict.fromkeys(path for path in (_project_file(), user_file()) if path and os.path.isfile(path)))


def user_file() -> Path | None:
    """Return the path of the user's file, by the XDG Base Directory Specification, which ignores relative paths."""
    for folder in (os.environ.get("XDG_CONFIG_HOME", ""), os.path.expanduser("~/.config")):
        if os.path.isabs(folder):
            return Path(folder) / "mdtool" / CONFIG_FILE
    return None


def _project_file() -> Path | None:
    """Return the file in the working directory, or in the nearest directory above that has one."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None
    return next((path for folder in (here, *here.parents) if os.path.isfile(path := folder / CONFIG_FILE)), None)


def read(commands: Commands) -> Settings:
    """Read the settings files, and check them and the environment.

    Raises:
        UsageError: A file can't be read, or a key or variable is unknown or has a bad value.
    """
    _check_environment(commands)
    settings: dict[tuple[CommandPath, str], Setting] = {}
    for path in reversed(files()):
        settings |= _read_file(path, commands)
    return settings


def default_map(settings: Settings) -> dict[str, Any]:
    """Return settings as Typer's `default_map`: nested as the commands are."""
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
    """Return the file or the environment variable that an option's value is from, None for neither."""
    source = ctx.get_parameter_source(option.name)
    if source is not None and source.name == "DEFAULT_MAP":
        return settings[words, option.name].location
    if source is not None and source.name == "ENVIRONMENT":
        return next(name for name in option.envvar or () if os.environ.get(name))
    return None


def hiding_keys(ctx: typer.Context, words: CommandPath, settings: Settings) -> dict[Path, list[str]]:
    """Return the keys of settings in effect that change what a command hides, by the file that has them."""
    found: dict[Path, list[str]] = {}
    if words[0] in HIDING_COMMANDS:
        for key, option in options_of(cast(TyperCommand, ctx.command)).items():
            where = origin(ctx, words, option, settings)
            if key not in _HARMLESS and isinstance(where, SettingLocation):
                found.setdefault(where.path, []).append(key)
    return found


def suggestion(word: str, known: Collection[str], command: str = "mdtool") -> str:
    """Return the end of a message about an unknown word: a close known one, or the command that lists them."""
    close = get_close_matches(word, known, n=1, cutoff=0.75)  # variables begin alike
    return f"did you mean {close[0]}?" if close else f"`{command} --help` lists all"


def _shared(commands: Commands) -> set[str]:
    """Return the keys that several commands share."""
    times = Counter(key for command in commands.values() for key in options_of(command))
    return {key for key in times if times[key] > 1}


def _variable(*words: str) -> str:
    return PREFIX + "_".join(words).upper().replace("-", "_")


def _check_environment(commands: Commands) -> None:
    users: dict[str, list[tuple[TyperCommand, TyperOption]]] = {}
    for command in commands.values():
        for option in options_of(command).values():
            for name in option.envvar or ():
                users.setdefault(name, []).append((command, option))
    for name, value in os.environ.items():
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        if name not in users:
            raise UsageError(f"{name}: this environment variable sets no option; {suggestion(name, users)}")
        for command, option in users[name]:
            if value:  # an empty one counts as not set
                try:
                    _converted(command, option, value.split("\n") if option.multiple else value)
                except ValueError as error:
                    raise UsageError(f"{name}: {error}") from error


def _head(table: CommandPath) -> str:
    """Return the header of a table."""
    return f"[{'.'.join(table)}]"


@dataclass(frozen=True)
class _File:
    path: Path
    text: str

    def location(self, table: CommandPath, key: str | None) -> SettingLocation:
        """Return the place of a key or of its table's header; without a line for other notations, such as a.b = 1."""
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
        with path.open(encoding="utf-8") as opened:
            _check_owner(path, opened.fileno())
            text = opened.read()
        tables = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    file = _File(path, text)
    shared = _read_shared(file, tables.pop(DEFAULTS_TABLE, {}), commands)
    return shared | _read_tables(file, tables, (), commands)


def _check_owner(path: Path, descriptor: int) -> None:
    """Check that no other user can decide what is hidden, by a file in a folder above that anyone may write to.

    As in git: the owner of the file, and of a symbolic link to it, must be the user or root, or the user who called
    sudo. A file that everybody may write to is refused too, but not one of a group, which may be the user's own.

    Raises:
        UsageError: Another user can.
    """
    if not hasattr(os, "geteuid"):  # Windows, where files have no such owner
        return
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    opened = os.fstat(descriptor)
    for owner in (opened.st_uid, os.lstat(path).st_uid):
        if owner not in trusted:
            raise UsageError(
                f"{path}: settings of another user (uid {owner}) are not read, since they could change what is hidden; "
                "take the file over with chown, or move it away"
            )
    if opened.st_mode & stat.S_IWOTH:
        raise UsageError(f"{path}: every user may write to these settings; `chmod o-w {shlex.quote(str(path))}` first")


def _read_shared(file: _File, table: Any, commands: Commands) -> dict[tuple[CommandPath, str], Setting]:
    found = {}
    if not isinstance(table, dict):
        raise file.wrong((), DEFAULTS_TABLE, f"must be a table: write {_head((DEFAULTS_TABLE,))}")
    shared = _shared(commands)
    for key, value in table.items():
        users = [words for words, command in commands.items() if key in options_of(command)]
        if key not in shared:
            if users:
                raise file.wrong(
                    (DEFAULTS_TABLE,), key, f"only one command has this option; move it to {_head(users[0])}"
                )
            raise file.wrong((DEFAULTS_TABLE,), key, f"commands share no such option; {suggestion(key, shared)}")
        options = {words: options_of(commands[words])[key] for words in users}
        takes_one = not all(option.multiple for option in options.values())
        for words, option in options.items():
            # One value that some commands take is a list of one for those that take several, as `serve` takes models.
            own = [value] if takes_one and option.multiple and not isinstance(value, list) else value
            try:
                name = _checked(commands[words], option, own)
            except ValueError as error:
                raise file.wrong((DEFAULTS_TABLE,), key, f"{error} (for `mdtool {' '.join(words)}`)") from error
            found[words, name] = Setting(own, file.location((DEFAULTS_TABLE,), key))
    return found


def _read_tables(
    file: _File, tables: Mapping[str, Any], group: CommandPath, commands: Commands
) -> dict[tuple[CommandPath, str], Setting]:
    """Read the tables of the commands of a group; () is the program itself."""
    found: dict[tuple[CommandPath, str], Setting] = {}
    for name, table in tables.items():
        words = (*group, name)
        inner = list(dict.fromkeys(known[: len(words)] for known in commands if known[: len(group)] == group))
        if words not in inner:
            if not isinstance(table, dict):
                raise file.wrong(group, name, f"belongs in the table of a command, such as {_head(inner[0])}")
            meant = suggestion(_head(words), [_head(one) for one in (*inner, (DEFAULTS_TABLE,))])
            raise file.wrong(words, None, f"no such command has settings; {meant}")
        if not isinstance(table, dict):
            raise file.wrong(group, name, f"must be a table: write {_head(words)}")
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
                raise file.wrong(words, key, "is an argument, which can only be given on the command line")
            raise file.wrong(words, key, f"no such option; {suggestion(key, options, ' '.join(['mdtool', *words]))}")
        try:
            name = _checked(command, options[key], value)
        except ValueError as error:
            raise file.wrong(words, key, str(error)) from error
        found[words, name] = Setting(value, file.location(words, key))
    return found


def _checked(command: TyperCommand, option: TyperOption, value: Any) -> str:
    """Return the name of the option's parameter. Raises ValueError for a value that it does not take."""
    if not isinstance(value, bool | int | float | str | list):
        raise ValueError(f"takes no {'table' if isinstance(value, dict) else 'date or time'}")
    if option.multiple and not isinstance(value, list):
        raise ValueError(f"takes a list, not {_shown(value)}: write [{_shown(value)}]")
    if value == [] and option.default:  # impossible on a command line: nothing would be masked
        raise ValueError("takes at least one value")
    converted = _converted(command, option, value)
    if not _is_natural(value, converted):
        raise ValueError(f"takes {_kind(converted)}, not {_shown(value)}")
    return option.name


def _converted(command: TyperCommand, option: TyperOption, value: Any) -> Any:
    """Return the value as the option converts it. Raises ValueError if it does not accept it."""
    try:
        return option.process_value(typer.Context(command), value)
    except TyperException as error:
        raise ValueError(error.message.removeprefix("Value error, ").rstrip(".")) from error


def _is_natural(value: Any, converted: Any) -> bool:
    """Return whether a TOML value has the type that the option converts it to; a number may stand for its digits."""
    if isinstance(converted, list | tuple):
        return isinstance(value, list) and all(map(_is_natural, value, converted))
    if isinstance(converted, bool) or isinstance(value, bool):
        return value is converted
    return isinstance(value, int | float if isinstance(converted, int | float) else int | float | str)


def _kind(converted: Any) -> str:
    if isinstance(converted, list | tuple):
        return f"a list of {_kind(converted[0])}" if converted else "a list"
    if isinstance(converted, bool):
        return "true or false"
    return "a number" if isinstance(converted, int | float) else "text"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
