"""Patterns of paths, written as in a .gitignore and in a shell: `*.jpg`, `raw/**`, `[0-9]?/*.png`."""

import fnmatch
import re
from collections.abc import Sequence

from mdtool.errors import UsageError

MAGIC = re.compile(r"[*?[]")


class Filter:
    """What --include and --exclude leave: paths that some include matches, or all if there are none, but none that an
    exclude matches. A path is relative to the named folder, with "/" between its parts.

    `*.jpg`, without "/", matches a name at any depth; `raw/*.jpg` and `/raw`, with one before their end, only from the
    named folder on. `*`, `?` and `[a-z]` match within a name, `**` as a whole part also any number of folders. What
    matches a folder takes all below it; `raw/` matches folders alone. Upper and lower case differ.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """UsageError for a pattern that matches nothing."""
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]

    def takes(self, path: str) -> bool:
        included = not self._include or any(pattern.fullmatch(path) for pattern in self._include)
        return included and not any(pattern.fullmatch(path) for pattern in self._exclude)

    def enters(self, folder: str) -> bool:
        """Whether anything below a folder may be taken."""
        return not any(pattern.fullmatch(folder + "/") for pattern in self._exclude)


class Glob:
    """A pattern of a command line, such as `shots/**/*.jpg`: `folder` is the part before the first wildcard."""

    def __init__(self, pattern: str) -> None:
        parts = pattern.split("/")
        first = next(index for index, part in enumerate(parts) if MAGIC.search(part))
        self.folder = "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")
        self._parts = [part for part in parts[first:] if part]
        self._whole = re.compile(_expression(self._parts), re.DOTALL)

    def matches(self, path: str) -> bool:
        """path: relative to `folder`."""
        return bool(self._whole.fullmatch(path))

    def enters(self, folder: str) -> bool:
        """Whether anything below a folder, relative to `folder`, may match."""
        names = folder.split("/")
        for part, name in zip(self._parts, names, strict=False):
            if part == "**":
                return True
            if not re.fullmatch(_within_a_name(part), name, re.DOTALL):
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
    """The parts of a pattern as one regular expression for a path."""
    made = ""
    for index, part in enumerate(parts, 1):
        if part == "**":
            made += ".*" if index == len(parts) else "(?:.*/)?"
        else:
            made += _within_a_name(part) + ("/" if index < len(parts) else "")
    return made


def _within_a_name(part: str) -> str:
    made, at = "", 0
    while at < len(part):
        end = part.find("]", at + (3 if part.startswith("[!", at) else 2)) if part[at] == "[" else -1
        if end > 0:
            made += "(?!/)" + fnmatch.translate(part[at : end + 1])[len("(?s:") : -len(r")\Z")]
            at = end
        else:
            made += {"*": "[^/]*", "?": "[^/]"}.get(part[at], re.escape(part[at]))
        at += 1
    return made
