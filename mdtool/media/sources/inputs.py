"""The list of inputs that the paths, folders and globs of a command line stand for."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdtool.errors import NoInputFound, UsageError, read_error_message
from mdtool.media.file_types import (
    IMAGE_SUFFIXES,
    MEDIA_SUFFIXES,
    first_bytes,
    is_media_by_content,
    sniff,
    usual_suffix,
)
from mdtool.media.sources.address import Address, parse_address
from mdtool.media.sources.object_store import is_object, objects_below
from mdtool.media.sources.patterns import Glob
from mdtool.network.urls import without_secrets

# Endings of output stems, which are skipped as inputs.
OUTPUT_MARKS = (".redacted", ".moderated", ".gaze", ".drawn", ".unverified", ".incomplete", ".preview")
HIDDEN, UNKNOWN = "hidden", "not known as images or videos"  # why something is left out
State = tuple[int, int]  # of a file: see `file_state`


@dataclass(frozen=True)
class Member:
    """One file in an archive.

    Attributes:
        name: Its path in the archive.
        at: Byte offset of its content in the decompressed tar, or of its header in the zip.
        size: Decompressed, in bytes.
    """

    name: str
    at: int
    size: int


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        path: The file or archive; None for standard input and for an address.
        relative: The path of its output below an output folder.
        named: Its name on the command line or in a list; None if it was found in a folder or by a glob.
        address: The camera or URL.
        member: The member of the archive `path`.
        failed: An error message, if discovery has found that it can't be read.
    """

    path: Path | None
    relative: Path
    named: str | None = None
    address: Address | None = None
    member: Member | None = None
    failed: str | None = None

    @property
    def name(self) -> str:
        """Its name in messages and records."""
        if self.address:
            return str(self.address)
        name = "-" if self.path is None else without_secrets(self.named or str(self.path))
        return f"{name}/{self.member.name}" if self.member else name


def file_state(source: Input) -> State | None:
    """Return the size in bytes and the modification time in nanoseconds; None if there is no such file."""
    try:
        status = os.stat(source.path) if source.path else None
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if status else None


class LeftOut:
    """Files in folders and globs that are no inputs, counted by the reason."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}

    def takes(self, path: Path) -> bool:
        """Return whether a file is no input, and count it."""
        reason = _reason_to_leave_out(path)
        if reason:
            self.add(reason, path.name)
        return bool(reason)

    def add(self, reason: str, name: str) -> None:
        """Count one."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._examples.setdefault(reason, name)

    def __str__(self) -> str:
        """Return one line; "" if there is none."""
        if not self._counts:
            return ""
        total = sum(self._counts.values())
        reasons = (
            f"{reason}: {count} ({self._examples[reason]}{', ...' * (count > 1)})"
            for reason, count in self._counts.items()
        )
        return f"{total} left out: {', '.join(reasons)}"


def find_inputs(named: Sequence[str], note: Callable[[str], object] | None = None) -> list[Input]:
    """Return the inputs that names stand for, each file once.

    In folders and globs images and videos are known by their first bytes where their names do not tell. Hidden files
    and outputs of this program are left out there. A glob without a match is an input that fails when it is opened,
    where other names have some: a mistyped one must not go unnoticed. A folder that can't be read is an input with
    `failed` set.

    Args:
        named: Files, folders (searched recursively), globs, URLs, cameras, or "-" alone for stdin.
        note: Gets one line about the files that are left out, if there are some.

    Raises:
        UsageError: "-" among other names.
        NoInputFound: Nothing was found.
    """
    found: dict[Path | Address, Input] = {}
    unmatched: list[Input] = []
    left_out = LeftOut()
    if "-" in named and len(named) > 1:
        raise UsageError("-: standard input can't be mixed with other inputs")
    if list(named) == ["-"]:
        return [Input(None, Path("stdin"))]
    for name in named:
        if address := parse_address(name):
            if is_object(address) and not is_media_file(Path(name)):
                for one, path in objects_below(address):
                    if is_media_file(path):
                        found[one] = Input(None, path, str(one), one)
                    else:
                        left_out.add(_kind_of_output(path) or UNKNOWN, path.name)
            else:
                found[address] = Input(None, address.file_name, name, address)
            continue
        path = Path(name)
        if not name:
            raise UsageError("an input has an empty name; is a variable not set?")
        if os.path.isdir(path):
            below: Iterator[Input] = _in_folder(path, left_out)
        elif glob.has_magic(name) and not os.path.lexists(path):
            matches = list(_matches(name, left_out))
            unmatched += [] if matches else [Input(path, Path(path.name), name)]
            below = iter(matches)
        else:
            below = iter([Input(path, Path(path.name), name)])
        for source in below:
            found.setdefault(Path(os.path.abspath(source.path or "")), source)
    if not found:
        raise NoInputFound(f"no image or video in {', '.join(map(without_secrets, named))}{note_left_out(named)}")
    if note and (told := str(left_out)):
        note(told)
    return [*found.values(), *unmatched]


def _reason_to_leave_out(path: Path) -> str | None:
    """Return why a file in a folder is no input; None if it is one."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return HIDDEN
    if suffix in MEDIA_SUFFIXES:
        return _kind_of_output(path)
    if suffix in IMAGE_SUFFIXES:
        head = first_bytes(path)
        if head and not (sniff(head) or usual_suffix(head)):
            return "images in a format that can't be written"
    elif not is_media_by_content(path):
        return UNKNOWN
    return _kind_of_output(path)


def _kind_of_output(path: Path) -> str | None:
    """Return which output of this program a file is by its name; None if it is none."""
    if path.stem.endswith(".incomplete"):
        return "incomplete outputs"
    return "outputs of earlier runs" if path.stem.endswith(OUTPUT_MARKS) else None


def _in_folder(folder: Path, left_out: LeftOut) -> Iterator[Input]:
    """Yield the media files below a folder, and the folders that can't be read."""
    unreadable: list[Input] = []
    for path in _walk(folder, unreadable, left_out=left_out):
        if not left_out.takes(path):
            yield Input(path, path.relative_to(folder))
    yield from unreadable


def _walk(
    top: Path,
    unreadable: list[Input],
    enters: Callable[[str], bool] = lambda folder: True,
    left_out: LeftOut | None = None,
) -> Iterator[Path]:
    """Yield the files below a folder. Symbolic links to folders are not followed, as they may form loops.

    Args:
        top: The folder.
        unreadable: Takes the folders that can't be read.
        enters: Whether to enter a folder, given relative to `top`.
        left_out: Counts hidden folders, and links to folders.
    """

    def note(error: OSError) -> None:
        path = Path(error.filename)
        unreadable.append(Input(path, path.relative_to(top), failed=read_error_message(error)))

    for at, folders, files in os.walk(top, onerror=note):
        below = Path(at).relative_to(top)
        for name in sorted(folders):
            if left_out and (name.startswith(".") or os.path.islink(os.path.join(at, name))):
                left_out.add(HIDDEN if name.startswith(".") else "links to folders", f"{name}/")
        folders[:] = sorted(name for name in folders if not name.startswith(".") and enters((below / name).as_posix()))
        yield from (Path(at, name) for name in sorted(files))


def _matches(pattern: str, left_out: LeftOut) -> Iterator[Input]:
    for name in sorted(glob.glob(pattern, recursive=True)):
        path = Path(name)
        if path.is_dir() and "**" not in pattern:
            left_out.add("folders", f"{path.name}/")
        elif os.path.isfile(path) and not left_out.takes(path):
            yield Input(path, Path(path.name))
    pattern_parts, unreadable = Glob(pattern), list[Input]()
    if os.path.isdir(pattern_parts.folder):
        for _ in _walk(Path(pattern_parts.folder), unreadable, pattern_parts.may_match_below):
            pass  # glob.glob does not tell which folders it could not read
    yield from unreadable


def note_left_out(named: Sequence[str]) -> str:
    """Return what is added to an error about names without an input, if there are files that are none."""
    left_out = LeftOut()
    for name in named:
        if os.path.isdir(name):
            paths: Iterator[Path] = _walk(Path(name), [], left_out=left_out)
        else:
            paths = map(Path, glob.iglob(name, recursive=True)) if not parse_address(name) else iter(())
        for path in paths:
            left_out.takes(path)
    return f"; {left_out}; one that is named itself is not left out" if str(left_out) else ""


def is_media_file(path: Path) -> bool:
    """Return whether a path has the suffix of a medium and is neither hidden nor an output of this program."""
    is_known = path.suffix.lower() in MEDIA_SUFFIXES
    return is_known and not path.name.startswith(".") and _kind_of_output(path) is None
