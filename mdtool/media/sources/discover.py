"""Lazy discovery of inputs: files, folders, globs, lists of names, archives and URLs."""

import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from glob import iglob
from itertools import chain
from pathlib import Path, PurePosixPath

from mdtool.errors import InputError, NoInputFound, UsageError, read_error_message
from mdtool.interruption import INTERRUPT_EVENT
from mdtool.media.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_media_by_content
from mdtool.media.files.pipe import PipeReader
from mdtool.media.files.stdin import open_stdin
from mdtool.media.sources.address import Address, parse_address
from mdtool.media.sources.archive import ARCHIVE_SUFFIXES, is_archive, members
from mdtool.media.sources.inputs import OUTPUT_MARKS, Input, note_left_out
from mdtool.media.sources.object_store import is_object, objects_below
from mdtool.media.sources.patterns import MAGIC, Filter, Glob
from mdtool.media.sources.shard import Shard
from mdtool.network.urls import without_secrets

CHUNK_BYTES = 1 << 16
KNOWN_SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *ARCHIVE_SUFFIXES)
SKIPPED_FOLDERS = ("__MACOSX",)  # holds the resource forks in archives made on a Mac, under the names of the files


@dataclass(frozen=True)
class Selection:
    """What to discover.

    Attributes:
        named: Files, folders, globs, URLs, cameras, or "-" alone for stdin.
        files_from: A file that lists more names; `Path("-")` for stdin.
        nul: Whether the names in the list are NUL-delimited instead of one per line.
        include: Patterns, see `Filter`.
        exclude: Patterns, see `Filter`.
        shard: Only these of the inputs; None: all.
    """

    named: Sequence[str] = ()
    files_from: Path | None = None
    nul: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    shard: Shard | None = None


def discover(selection: Selection, should_stop: Callable[[], bool] = INTERRUPT_EVENT.is_set) -> Iterator[Input]:
    """Yield the selected inputs in the order of the names; of a folder its files by name, then its subfolders.

    Inputs are found lazily: memory holds the names of one folder at most, and the index of a zip. In folders, globs and
    archives, hidden files, outputs of this program, excluded files and all that is no image, video or archive are
    skipped; in folders images and videos are known by their first bytes where their names do not tell. Links to folders
    are followed only if they are named themselves. An archive is treated as a folder of images. An input that is named
    itself, on the command line or in the list, is yielded whatever it is; names in the list are literal paths, not
    globs.

    A file is yielded once, even if named folders, globs and files overlap. Duplicates in the list, and links to files
    that are yielded too, are not detected.

    A folder or archive that can't be read is yielded as an Input with `failed` set, after what could be read of it. A
    missing file fails when it is opened, and so does a glob without a match where other names have some.

    Args:
        selection: What to discover.
        should_stop: Polled while a piped list delivers nothing; True ends it.

    Raises:
        UsageError: The selection is invalid; before anything is yielded.
        NoInputFound: Nothing was found; at the end.
    """
    if "-" in selection.named and (len(selection.named) > 1 or selection.files_from):
        raise UsageError("-: standard input can't be mixed with other inputs")
    patterns = Filter(selection.include, selection.exclude)
    stack = ExitStack()
    names = _open_list(selection.files_from, stack, should_stop) if selection.files_from else None
    return _discover(selection, patterns, names, stack)


def _discover(selection: Selection, patterns: Filter, names: PipeReader | None, stack: ExitStack) -> Iterator[Input]:
    is_empty = True
    unmatched: list[str] = []
    with stack:
        listed = _from_list(names, selection.nul, patterns) if names else ()
        for source in chain(_from_arguments(selection.named, patterns, unmatched), listed):
            is_empty = False
            if selection.shard is None or selection.shard.has(source):
                yield source
    if not is_empty:
        missed = (Input(Path(name), Path(Path(name).name), name) for name in unmatched)
        yield from (one for one in missed if selection.shard is None or selection.shard.has(one))
    else:
        searched = [*selection.named, *(["the list of files"] if selection.files_from else [])]
        found_none = f"no image or video in {', '.join(map(without_secrets, searched))}"
        raise NoInputFound(f"{found_none}{note_left_out(selection.named)}")


def _from_arguments(named: Sequence[str], patterns: Filter, unmatched: list[str]) -> Iterator[Input]:
    """Yield the inputs of the arguments; append globs without a match to `unmatched`."""
    if list(named) == ["-"]:
        yield Input(None, Path("stdin"))
        return
    real_paths = {name: _real_path(name) for name in named if not _is_glob(name)}
    skipped = set(real_paths.values())  # they are yielded under their own name, not as part of a folder
    done: set[str] = set()
    globs: list[Glob] = []
    for name in named:
        if name not in real_paths:
            glob, is_matched = Glob(name), False
            if not _is_below(os.path.realpath(glob.folder), skipped):
                for source in _matches(glob, patterns, skipped, tuple(globs)):
                    is_matched = True
                    yield source
                if not is_matched and not any(iglob(name, recursive=True)):
                    unmatched.append(name)
            globs.append(glob)
        elif real_paths[name] not in done:
            done.add(real_paths[name])
            yield from _from_name(name, Path(name).name, patterns, skipped)


def _from_list(names: PipeReader, nul: bool, patterns: Filter) -> Iterator[Input]:
    for name in _split(names, b"\0" if nul else b"\n"):
        if "\0" in name:
            yield Input(Path(name), Path("-"), name, failed="contains a NUL byte, which no file name can")
        else:
            yield from _from_name(name, _contained(name), patterns, frozenset())


def _from_name(name: str, relative: str | Path, patterns: Filter, skipped: Container[str]) -> Iterator[Input]:
    """Yield a named file, or what is in a named folder or archive except the skipped real paths."""
    if address := parse_address(name):
        yield from _from_address(name, address, patterns)
    elif os.path.isdir(name):
        for source in _walk(name, skipped, patterns.may_match_below):
            yield from _filtered(source, patterns)
    elif is_archive(name):
        yield from _in_archive(Input(Path(name), Path(relative), name), patterns, "")
    else:
        yield Input(Path(name), Path(relative), name)


def _from_address(name: str, address: Address, patterns: Filter) -> Iterator[Input]:
    """Yield a camera, a URL or an object, or the images and videos below the prefix of an object store."""
    if not is_object(address) or _is_known(name, KNOWN_SUFFIXES):
        yield Input(None, address.file_name, name, address)
        return
    try:
        for one, relative in objects_below(address):
            if _is_known(relative.name, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)) and patterns.matches(relative.as_posix()):
                yield Input(None, relative, str(one), one)
    except InputError as error:
        yield Input(None, address.file_name, name, address, failed=str(error))


def _matches(glob: Glob, patterns: Filter, skipped: Container[str], earlier: Sequence[Glob]) -> Iterator[Input]:
    """Yield the matches of a glob that none of the earlier globs matches."""
    if not os.path.isdir(glob.folder):
        return
    roots = [os.path.join(os.path.realpath(other.folder), "") for other in earlier]

    def is_duplicate(path: Path) -> bool:
        for other, root in zip(earlier, roots, strict=True):
            relative = (real_path := _real_path(str(path))).removeprefix(root)
            if relative != real_path and other.matches(relative) and _is_selected(patterns, relative):
                return True
        return False

    def descend(folder: str) -> bool:
        return glob.may_match_below(folder) and patterns.may_match_below(folder)

    for source in _walk(glob.folder, skipped, descend):
        if source.failed or (glob.matches(source.relative.as_posix()) and not is_duplicate(source.path or Path())):
            yield from _filtered(source, patterns)


def _filtered(source: Input, patterns: Filter) -> Iterator[Input]:
    path = source.relative.as_posix()
    if source.failed:
        yield source
    elif _is_selected(patterns, path):
        yield from _in_archive(source, patterns, f"{path}/") if is_archive(path) else (source,)


def _is_selected(patterns: Filter, path: str) -> bool:
    return patterns.may_match_below(path) if is_archive(path) else patterns.matches(path)


def _in_archive(archive: Input, patterns: Filter, prefix: str) -> Iterator[Input]:
    """Yield the images in an archive; the patterns match the prefix and the member's name."""
    assert archive.path is not None
    try:
        for member in members(archive.path):
            relative = _contained(member.name)
            hidden = any(part in SKIPPED_FOLDERS or part.startswith(".") for part in relative.parts)
            if hidden or not _is_known(relative.name, IMAGE_SUFFIXES):
                continue
            if patterns.matches(prefix + relative.as_posix()):
                yield replace(archive, relative=archive.relative / relative, member=member)
    except InputError as error:
        yield replace(archive, failed=str(error))


def _walk(top: str, skipped: Container[str], descend: Callable[[str], bool]) -> Iterator[Input]:
    """Yield the media files and archives below a folder, sorted by name.

    Args:
        top: The folder.
        skipped: Real paths to leave out.
        descend: Whether to enter a folder, given relative to `top`.
    """
    root = os.path.realpath(top)
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            files, folders = _names_in(os.path.join(top, folder))
        except OSError as error:
            yield Input(Path(top, folder), Path(folder), failed=read_error_message(error))
            continue
        prefix = f"{folder}/" if folder else ""
        for name in files:
            relative = prefix + name
            if os.path.join(root, relative) not in skipped and _is_input(Path(top, relative)):
                yield Input(Path(top, relative), Path(relative))
        for name in reversed(folders):
            relative = prefix + name
            if os.path.join(root, relative) not in skipped and descend(relative):
                pending.append(relative)


def _names_in(folder: str) -> tuple[list[str], list[str]]:
    """Return the sorted names of (files, folders), without hidden ones and links to folders."""
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


def _is_input(path: Path) -> bool:
    if _is_known(path.name, KNOWN_SUFFIXES):
        return True
    return not path.stem.endswith(OUTPUT_MARKS) and is_media_by_content(path)


def _is_known(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not os.path.splitext(name)[0].endswith(OUTPUT_MARKS)


def _is_glob(name: str) -> bool:
    return bool(MAGIC.search(name)) and not parse_address(name) and not os.path.lexists(name)


def _real_path(name: str) -> str:
    """Return a unique path of an input: links in its folder are resolved, but not a link to the file itself."""
    if parse_address(name):
        return name
    folder, base = os.path.split(os.path.abspath(name))
    return os.path.realpath(name) if os.path.isdir(name) else os.path.join(os.path.realpath(folder), base)


def _is_below(folder: str, paths: Container[str]) -> bool:
    return folder in paths or any(str(parent) in paths for parent in Path(folder).parents)


def _contained(name: str) -> Path:
    """Return a name as a relative path that can't lead out of a folder."""
    return Path(*(part for part in PurePosixPath(name).parts if part.strip("/") and part != ".."))


def _open_list(path: Path, stack: ExitStack, should_stop: Callable[[], bool]) -> PipeReader:
    if str(path) == "-":
        return open_stdin("a list of names", should_stop)
    try:
        file = stack.enter_context(path.open("rb", buffering=0))
        return PipeReader(file.fileno(), should_stop)
    except OSError as error:
        raise UsageError(f"{path}: can't be read as a list: {(error.strerror or str(error)).lower()}") from error


def _split(file: PipeReader, end: bytes) -> Iterator[str]:
    """Yield the names as they arrive, without the carriage return of CRLF line ends."""
    rest = b""
    while chunk := file.read(CHUNK_BYTES):
        *complete, rest = (rest + chunk).split(end)
        yield from _decoded(complete, end)
    yield from _decoded([rest], end)


def _decoded(names: Sequence[bytes], end: bytes) -> Iterator[str]:
    for raw in names:
        name = raw.removesuffix(b"\r") if end == b"\n" else raw
        if name.strip():
            yield os.fsdecode(name)
