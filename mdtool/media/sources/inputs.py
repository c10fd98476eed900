"""What there is to work on: the paths, folders and globs of a command line, made into a list of files."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdtool.errors import NoInputFound, UsageError
from mdtool.media.sources.address import Address, parse_address

# fmt: off
STILL_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".dv", ".flv", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogg", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
})
# fmt: on
OUTPUT_MARKS = (".redacted", ".moderated", ".gaze", ".drawn")  # in the names of outputs, so that they are known again


@dataclass(frozen=True)
class Member:
    """One file in an archive.

    at: where its content begins, in bytes of the unpacked tar, or where its header does in a zip. size: in bytes.
    """

    name: str
    at: int
    size: int


@dataclass(frozen=True)
class Input:
    """One file to work on. path None: standard input, or what has an address. relative: where its output goes below
    an output folder.

    named: what it was called on the command line, if it was. member: the part of the archive `path` that is meant.
    failed: why there is nothing to read, if that is known already.
    """

    path: Path | None
    relative: Path
    named: str | None = None
    address: Address | None = None
    member: Member | None = None
    failed: str | None = None

    @property
    def name(self) -> str:
        """As the person would call it."""
        if self.address:
            return str(self.address)
        name = "-" if self.path is None else self.named or str(self.path)
        return f"{name}/{self.member.name}" if self.member else name


def find_inputs(named: Sequence[str]) -> list[Input]:
    """Files for what was named: themselves, all media in folders (and below), matches of globs, addresses, "-".

    Hidden files and outputs of this program are passed over in folders and globs. NoInputFound where nothing is left.
    """
    found: dict[Path | Address, Input] = {}
    if "-" in named and len(named) > 1:
        raise UsageError("-: standard input can't be mixed with other inputs")
    if list(named) == ["-"]:
        return [Input(None, Path("stdin"))]
    for name in named:
        if address := parse_address(name):
            found[address] = Input(None, address.file_name, name, address)
            continue
        path = Path(name)
        if os.path.isdir(path):
            below: Iterator[Input] = _in_folder(path)
        elif glob.has_magic(name) and not os.path.lexists(path):
            below = _matches(name)
        else:
            below = iter([Input(path, Path(path.name), name)])
        for one in below:
            found.setdefault(Path(os.path.abspath(one.path or "")), one)
    if not found:
        raise NoInputFound(f"no video or photo in {', '.join(named)}")
    return list(found.values())


def _in_folder(folder: Path) -> Iterator[Input]:
    """Symbolic links to folders are not followed, so that no loop of them is either."""
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(at, name)
            if is_media_file(path):
                yield Input(path, path.relative_to(folder))


def _matches(pattern: str) -> Iterator[Input]:
    for name in sorted(glob.glob(pattern, recursive=True)):
        path = Path(name)
        if os.path.isfile(path) and is_media_file(path):
            yield Input(path, Path(path.name))


def is_media_file(path: Path) -> bool:
    hidden, own = path.name.startswith("."), path.stem.endswith(OUTPUT_MARKS)
    return not hidden and not own and path.suffix.lower() in STILL_SUFFIXES | VIDEO_SUFFIXES
