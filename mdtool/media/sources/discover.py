"""What there is to ask about, found while it is asked: files, folders, globs, lists of names, archives, addresses."""

import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath

from mdtool.errors import InputError, NoInputFound, UsageError
from mdtool.interruption import INTERRUPT_EVENT
from mdtool.media.files.pipe import PipeReader
from mdtool.media.files.stdin import open_stdin
from mdtool.media.image.decode_image import IMAGE_SUFFIXES
from mdtool.media.sources.address import parse_address
from mdtool.media.sources.archive import ARCHIVE_SUFFIXES, is_archive, members
from mdtool.media.sources.inputs import OUTPUT_MARKS, VIDEO_SUFFIXES, Input
from mdtool.media.sources.patterns import MAGIC, Filter, Glob

CHUNK_BYTES = 1 << 16
KNOWN_SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *ARCHIVE_SUFFIXES)
SKIPPED_FOLDERS = (
    "__MACOSX",
)  # where archives made on a Mac keep what belongs to each file, under the file's own name


@dataclass(frozen=True)
class Selection:
    """named: files, folders, globs, addresses, or "-" alone. files_from: a list of more names, `Path("-")` for one that
    is piped in; nul: they are separated by zero bytes and not by line ends. include, exclude: as `Filter` has them.
    """

    named: Sequence[str] = ()
    files_from: Path | None = None
    nul: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


def discover(selection: Selection, ended: Callable[[], bool] = INTERRUPT_EVENT.is_set) -> Iterator[Input]:
    """What is selected, in the order of the names; of a folder its files by name, then its folders.

    Found as it is asked for, so memory holds the names of one folder at most, and the index of a zip. In folders,
    globs and archives hidden files, outputs of this program and what is no picture, video or archive are passed over,
    and so is what the patterns leave out; links to folders are not followed, unless they are named themselves. Of
    archives the pictures come, and an archive is like a folder to the patterns. What is named itself, here or in the
    list, comes whatever it is; names in the list are taken as they are and are no globs.

    Each file comes once, however folders and globs and files that are named overlap. A list is not compared with
    itself nor with them, nor are links with what they link to.

    A folder or archive that can't be read is an Input whose `failed` says so, after what could be read of it; one that
    is named and not there fails when it is opened. Raises UsageError at once, and NoInputFound at the end if nothing
    came.
    ended: tells that nobody waits for more of a list that is piped in.
    """
    if "-" in selection.named and (len(selection.named) > 1 or selection.files_from):
        raise UsageError("-: standard input can't be mixed with other inputs")
    chosen = Filter(selection.include, selection.exclude)
    stack = ExitStack()
    names = _list_of_names(selection.files_from, stack, ended) if selection.files_from else None
    return _discover(selection, chosen, names, stack)


def _discover(selection: Selection, chosen: Filter, names: PipeReader | None, stack: ExitStack) -> Iterator[Input]:
    found = False
    with stack:
        for one in chain(_named(selection.named, chosen), _from_list(names, selection.nul, chosen) if names else ()):
            found = True
            yield one
    if not found:
        asked = [*selection.named, *(["the list of files"] if selection.files_from else [])]
        raise NoInputFound(f"no picture or video in {', '.join(asked)}")


def _named(named: Sequence[str], chosen: Filter) -> Iterator[Input]:
    if list(named) == ["-"]:
        yield Input(None, Path("stdin"))
        return
    places = {name: _place(name) for name in named if not _is_glob(name)}
    apart = set(places.values())  # they come for their own name, not with the folder that they are in
    came: set[str] = set()
    globs: list[Glob] = []
    for name in named:
        if name not in places:
            glob = Glob(name)
            if not _lies_in(os.path.realpath(glob.folder), apart):
                yield from _matches(glob, chosen, apart, tuple(globs))
            globs.append(glob)
        elif places[name] not in came:
            came.add(places[name])
            yield from _outright(name, Path(name).name, chosen, apart)


def _from_list(names: PipeReader, nul: bool, chosen: Filter) -> Iterator[Input]:
    for name in _split(names, b"\0" if nul else b"\n"):
        if "\0" in name:
            yield Input(Path(name), Path("-"), name, failed="has a zero byte in it, which no file's name can have")
        else:
            yield from _outright(name, _inside(name), chosen, frozenset())


def _outright(name: str, relative: str | Path, chosen: Filter, skipped: Container[str]) -> Iterator[Input]:
    """skipped: places that don't come with a folder."""
    if address := parse_address(name):
        yield Input(None, address.file_name, name, address)
    elif os.path.isdir(name):
        for one in _walk(name, skipped, chosen.enters):
            yield from _taken(one, chosen)
    elif is_archive(name):
        yield from _in_archive(Input(Path(name), Path(relative), name), chosen, "")
    else:
        yield Input(Path(name), Path(relative), name)


def _matches(glob: Glob, chosen: Filter, skipped: Container[str], before: Sequence[Glob]) -> Iterator[Input]:
    """before: the globs whose matches have come already."""
    if not os.path.isdir(glob.folder):
        return
    roots = [os.path.join(os.path.realpath(other.folder), "") for other in before]

    def has_come(path: Path) -> bool:
        for other, root in zip(before, roots, strict=True):
            inside = (place := _place(str(path))).removeprefix(root)
            if inside != place and other.matches(inside) and _may_take(chosen, inside):
                return True
        return False

    for one in _walk(glob.folder, skipped, lambda folder: glob.enters(folder) and chosen.enters(folder)):
        if one.failed or (glob.matches(one.relative.as_posix()) and not has_come(one.path or Path())):
            yield from _taken(one, chosen)


def _taken(found: Input, chosen: Filter) -> Iterator[Input]:
    path = found.relative.as_posix()
    if found.failed:
        yield found
    elif _may_take(chosen, path):
        yield from _in_archive(found, chosen, f"{path}/") if is_archive(path) else (found,)


def _may_take(chosen: Filter, path: str) -> bool:
    return chosen.enters(path) if is_archive(path) else chosen.takes(path)


def _in_archive(archive: Input, chosen: Filter, before: str) -> Iterator[Input]:
    """The pictures in it. before: what goes before their names for the patterns."""
    assert archive.path is not None
    try:
        for member in members(archive.path):
            inside = _inside(member.name)
            apart = any(part in SKIPPED_FOLDERS or part.startswith(".") for part in inside.parts)
            if not apart and _is_known(inside.name, IMAGE_SUFFIXES) and chosen.takes(before + inside.as_posix()):
                yield replace(archive, relative=archive.relative / inside, member=member)
    except InputError as error:
        yield replace(archive, failed=str(error))


def _walk(top: str, skipped: Container[str], enters: Callable[[str], bool]) -> Iterator[Input]:
    """The media and archives in a folder and below it, by name. enters: whether to go into a folder below it."""
    place = os.path.realpath(top)
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            files, folders = _names_in(os.path.join(top, inside))
        except OSError as error:
            failed = f"can't be read: {(error.strerror or str(error)).lower()}"
            yield Input(Path(top, inside), Path(inside), failed=failed)
            continue
        before = f"{inside}/" if inside else ""
        for name in files:
            below = before + name
            if _is_known(name, KNOWN_SUFFIXES) and os.path.join(place, below) not in skipped:
                yield Input(Path(top, below), Path(below))
        for name in reversed(folders):
            below = before + name
            if os.path.join(place, below) not in skipped and enters(below):
                waiting.append(below)


def _names_in(folder: str) -> tuple[list[str], list[str]]:
    """Of files and of folders; neither hidden ones nor links to folders."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif not (entry.is_symlink() and os.path.isdir(entry.path)):
                files.append(entry.name)
    return sorted(files), sorted(folders)


def _is_known(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not os.path.splitext(name)[0].endswith(OUTPUT_MARKS)


def _is_glob(name: str) -> bool:
    return bool(MAGIC.search(name)) and not parse_address(name) and not os.path.lexists(name)


def _place(name: str) -> str:
    """What a name is known by, whatever way it is written: its real folder, and its own name."""
    if parse_address(name):
        return name
    folder, own = os.path.split(os.path.abspath(name))
    return os.path.realpath(name) if os.path.isdir(name) else os.path.join(os.path.realpath(folder), own)


def _lies_in(folder: str, places: Container[str]) -> bool:
    return folder in places or any(str(above) in places for above in Path(folder).parents)


def _inside(name: str) -> Path:
    """A name as a path that leads out of no folder."""
    return Path(*(part for part in PurePosixPath(name).parts if part.strip("/") and part != ".."))


def _list_of_names(path: Path, stack: ExitStack, ended: Callable[[], bool]) -> PipeReader:
    """stack: what closes it."""
    if str(path) == "-":
        return open_stdin("a list of names", ended)
    try:
        file = stack.enter_context(path.open("rb", buffering=0))
        return PipeReader(file.fileno(), ended)
    except OSError as error:
        raise UsageError(f"{path}: can't be read as a list: {(error.strerror or str(error)).lower()}") from error


def _split(file: PipeReader, end: bytes) -> Iterator[str]:
    """Names, as they come. A carriage return before a line's end is dropped."""
    rest = b""
    while chunk := file.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(end)
        yield from _decoded(whole, end)
    yield from _decoded([rest], end)


def _decoded(names: Sequence[bytes], end: bytes) -> Iterator[str]:
    for name in names:
        own = name.removesuffix(b"\r") if end == b"\n" else name
        if own.strip():
            yield os.fsdecode(own)
