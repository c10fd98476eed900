"""Path patterns in the syntax of .gitignore and shell globs: `*.jpg`, `raw/**`, `[0-9]?/*.png`."""

import fnmatch
import re
from collections.abc import Sequence

from mdtool.errors import UsageError

MAGIC = re.compile(r"[*?[]")


class Filter:
    """The patterns of --include and --exclude.

    They match paths relative to the named folder, with "/" as separator. A path is selected if some include pattern, or
    none at all, and no exclude pattern matches it.

    A pattern without "/", such as `*.jpg`, matches a name at any depth; one with "/" before its end, such as
    `raw/*.jpg` and `/raw`, is anchored at the named folder. `*`, `?` and `[a-z]` match within a name, `**` as a whole
    part any number of folders. A pattern that matches a folder matches everything below it; `raw/` matches folders
    only. Patterns are case-sensitive.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Compile the patterns.

        Raises:
            UsageError: A pattern that can't match anything.
        """
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]

    def matches(self, path: str) -> bool:
        """Return whether a file is selected."""
        included = not self._include or any(pattern.fullmatch(path) for pattern in self._include)
        return included and not any(pattern.fullmatch(path) for pattern in self._exclude)

    def may_match_below(self, folder: str) -> bool:
        """Return whether a file below this folder may be selected."""
        return not any(pattern.fullmatch(folder + "/") for pattern in self._exclude)


class Glob:
    """A glob of the command line, such as `shots/**/*.jpg`.

    Attributes:
        folder: The part before the first wildcard.
    """

    def __init__(self, pattern: str) -> None:
        parts = pattern.split("/")
        first = next(index for index, part in enumerate(parts) if MAGIC.search(part))
        self.folder = "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")
        self._parts = [part for part in parts[first:] if part]
        self._regex = re.compile(_expression(self._parts), re.DOTALL)

    def matches(self, path: str) -> bool:
        """Return whether a path, relative to `folder`, matches."""
        return bool(self._regex.fullmatch(path))

    def may_match_below(self, folder: str) -> bool:
        """Return whether a path below this folder, given relative to `folder`, may match."""
        names = folder.split("/")
        for part, name in zip(self._parts, names, strict=False):
            if part == "**":
                return True
            if not re.fullmatch(_name_expression(part), name, re.DOTALL):
                return False
        return len(names) < len(self._parts)


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [part for part in pattern.split("/") if part]
    if not parts:
        raise UsageError(f"'{pattern}': matches nothing; give a pattern such as '*.jpg' or 'raw/**'")
    anywhere = "(?:.*/)?" if "/" not in pattern.rstrip("/") else ""
    below = "/.*" if pattern.endswith("/") else "(?:/.*)?"
    return re.compile(anywhere + _expression(parts) + below, re.DOTALL)


def _expression(parts: Sequence[str]) -> str:
    """Translate the parts of a pattern into a regular expression for a path."""
    regex = ""
    for index, part in enumerate(parts, 1):
        if part == "**":
            regex += ".*" if index == len(parts) else "(?:.*/)?"
        else:
            regex += _name_expression(part) + ("/" if index < len(parts) else "")
    return regex


def _name_expression(part: str) -> str:
    """Translate one part of a pattern, whose wildcards don't match "/"."""
    regex, at = "", 0
    while at < len(part):
        end = part.find("]", at + (3 if part.startswith("[!", at) else 2)) if part[at] == "[" else -1
        if end > 0:
            regex += "(?!/)" + fnmatch.translate(part[at : end + 1])[len("(?s:") : -len(r")\Z")]
            at = end
        else:
            regex += {"*": "[^/]*", "?": "[^/]"}.get(part[at], re.escape(part[at]))
        at += 1
    return regex
