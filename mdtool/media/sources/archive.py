"""Files in zip and tar archives, listed and read without unpacking them."""

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

from mdtool.errors import InputError
from mdtool.media.sources.inputs import Member

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_BYTES = 256 << 20  # of one member
MOST_HEADER = 1 << 20  # bytes of a tar's long names and the like; they are read whole
SEEK_BACK_BYTES = 32 << 20  # bytes of a packed tar that are kept, for members asked for out of order
BLOCK = 1 << 20
_MAGIC = {b"PK": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_PACKED: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
_DAMAGED = (
    EOFError, OverflowError, RuntimeError, ValueError, lzma.LZMAError, struct.error, tarfile.TarError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def members(path: Path) -> Iterator[Member]:
    """The files in an archive, in their order. Those of a tar come as it is read; a zip's index is read whole.

    Folders, links and devices are passed over, and names that come again. Raises InputError where the archive can't be
    read (on), after what could be.
    """
    with _archive_errors():
        if (packing := _packing(path)) == "zip":
            index = _zip(*_version(path))
            for info in index.infolist():
                if not info.is_dir() and index.NameToInfo[info.filename] is info:  # the last of a name counts
                    yield Member(info.filename, info.header_offset, info.file_size)
            return
        with _PACKED.get(packing, open)(path, "rb") as stream:
            yield from _tar_members(stream)


def read_member(path: Path, member: Member) -> bytes:
    """What is in it. From a packed tar in order is fast; any other order unpacks it again from its start.

    Raises InputError: encrypted, damaged, or too large. May be called from several threads.
    """
    if member.size > MOST_BYTES:
        raise InputError(f"is larger than {MOST_BYTES >> 20} MB, which no picture is")
    with _archive_errors():
        if (packing := _packing(path)) == "zip":
            data = _read_zipped(_zip(*_version(path)), member)
        elif packing == "none":
            with path.open("rb") as file:
                file.seek(member.at)
                data = file.read(member.size)
        else:
            data = _tar(*_version(path)).read(member.at, member.size)
    if len(data) < member.size:
        raise InputError("is damaged: the archive ends before it does")
    return data


@contextmanager
def _archive_errors() -> Iterator[None]:
    """All that goes wrong in an archive as one InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("there is no such file") from error
    except _DAMAGED as error:
        raise InputError(f"is damaged: {_first_line(error)}") from error
    except OSError as error:  # what gzip and bz2 say of damage has no number
        said = f"can't be read: {(error.strerror or str(error)).lower()}" if error.errno else f"is damaged: {error}"
        raise InputError(said) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or "it can't be unpacked"


def _version(path: Path) -> tuple[Path, int, int]:
    """What an archive that is open is known by, so that one written anew is opened anew."""
    state = path.stat()
    return path, state.st_mtime_ns, state.st_size


def _packing(path: Path) -> str:
    """By its content: "zip", or how a tar is packed: "gzip", "bzip2", "xz" or "none"."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError("is no file")
    with path.open("rb") as file:
        head = file.read(6)
    return next((packing for magic, packing in _MAGIC.items() if head.startswith(magic)), "none")


@lru_cache(maxsize=4)
def _zip(path: Path, changed: int, size: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _read_zipped(index: zipfile.ZipFile, member: Member) -> bytes:
    info = index.NameToInfo.get(member.name)
    if info is None or info.header_offset != member.at:
        raise InputError("is in the archive no longer")
    if info.flag_bits & 1:
        raise InputError("is encrypted; unpack the archive first")
    with index.open(info) as file:
        return file.read(member.size)


class _Bounded:
    """A tar to list: `tarfile` reads long names whole, however long a hostile file says they are."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header in it has {size} bytes")
        return self._stream.read(size)


def _tar_members(stream: IO[bytes]) -> Iterator[Member]:
    bounded: Any = _Bounded(stream)
    tar: Any  # that it has `members` is in its documentation, but not in its types
    with tarfile.open(fileobj=bounded, mode="r:", errors="surrogateescape") as tar:
        while info := tar.next():
            tar.members.clear()  # else all of them stay in memory
            if tar.offset < info.offset_data:
                raise tarfile.ReadError("a file in it has a negative size")
            if info.isreg() and not info.issparse():
                yield Member(info.name.removeprefix("./"), info.offset_data, info.size)
        bounded.seek(tar.offset)
        if any(bounded.read(tarfile.BLOCKSIZE)):  # tarfile takes any bad header but the first for the end
            raise tarfile.ReadError("a header in it can't be read")


@lru_cache(maxsize=4)
def _tar(path: Path, changed: int, size: int) -> "_PackedTar":
    return _PackedTar(path)


class _PackedTar:
    """A packed tar that is open at the place up to which it was read, with the last of what was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | None = None
        self._forget()

    def _forget(self) -> None:
        self._blocks: deque[bytes] = deque()
        self._start = self._end = 0  # where in the unpacked tar the blocks are

    def read(self, at: int, size: int) -> bytes:
        with self._lock:
            try:
                return self._read(at, size)
            except BaseException:
                self._stream = None
                raise

    def _read(self, at: int, size: int) -> bytes:
        if self._stream is None or at < self._start:
            self._forget()
            self._stream = _PACKED[_packing(self._path)](self._path, "rb")
        kept = SEEK_BACK_BYTES + size
        while self._end < at + size and (block := self._stream.read1(BLOCK)):  # read loses what comes before damage
            self._blocks.append(block)
            self._end += len(block)
            while self._start + len(self._blocks[0]) <= min(at, self._end - kept):
                self._start += len(self._blocks.popleft())
        found, end = deque[bytes](), self._end
        for block in reversed(self._blocks):
            begin = end - len(block)
            if end <= at:
                break
            found.appendleft(block[max(0, at - begin) : max(0, at + size - begin)])
            end = begin
        return b"".join(found)
