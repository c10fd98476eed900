"""Listing and reading the members of zip and tar archives without extracting them to disk."""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

from mdtool.errors import InputError, read_error_message
from mdtool.media.sources.inputs import Member

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_MEMBER_BYTES = 256 << 20
MAX_HEADER_BYTES = 1 << 20  # of a tar's extended headers (long names), which are read into memory
SEEK_BACK_BYTES = 32 << 20  # decompressed bytes that are cached, for members that are read out of order
BLOCK_BYTES = 1 << 20
_MAGIC = {b"PK": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_DECOMPRESSORS: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}


def is_archive(name: str) -> bool:
    """Return whether a file name has the suffix of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def members(path: Path) -> Iterator[Member]:
    """Yield the regular files of an archive in order, a tar's while it is read.

    Folders, links and devices are skipped; so are all but the last member of the same name in a zip.

    Raises:
        InputError: The archive can't be read, or not further: then after the members before the damage.
    """
    with _archive_errors():
        if (compression := _compression(path)) == "zip":
            yield from _zip_members(_zip(*_version(path)))
            return
        with _DECOMPRESSORS.get(compression, open)(path, "rb") as stream:
            yield from _tar_members(stream)


def read_member(path: Path, member: Member) -> bytes:
    """Read one member. Thread-safe.

    Reading a compressed tar in order is fast; any other order may decompress it again from its start.

    Args:
        path: The archive.
        member: As returned by `members`.

    Returns:
        Its content, decompressed.

    Raises:
        InputError: It is encrypted, damaged or too large.
    """
    if member.size > MAX_MEMBER_BYTES:
        raise InputError(f"larger than {MAX_MEMBER_BYTES >> 20} MB, the limit for an image")
    with _archive_errors():
        if (compression := _compression(path)) == "zip":
            data = _read_zipped(_zip(*_version(path)), member)
        elif compression == "none":
            with path.open("rb") as file:
                file.seek(member.at)
                data = file.read(member.size)
        else:
            data = _tar(*_version(path)).read(member.at, member.size)
    if len(data) < member.size:
        raise InputError("damaged: the archive ends in the middle of it")
    return data


@contextmanager
def _archive_errors() -> Iterator[None]:
    """Convert errors into InputError; a damaged archive can have libraries raise any, such as an IndexError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError("there is no such file") from error
    except MemoryError as error:
        raise InputError("can't be read: it claims more than fits into memory") from error
    except OSError as error:  # gzip and bz2 report damage as an OSError without errno
        message = read_error_message(error) if error.errno else f"damaged: {error}"
        raise InputError(message) from error
    except Exception as error:
        raise InputError(f"damaged: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or "it can't be decompressed"


def _version(path: Path) -> tuple[Path, int, int]:
    """Return the cache key of an open archive, so that a changed file is opened again."""
    state = path.stat()
    return path, state.st_mtime_ns, state.st_size


def _compression(path: Path) -> str:
    """Detect by its signature a "zip", or the compression of a tar: "gzip", "bzip2", "xz" or "none"."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError("not a regular file")
    with path.open("rb") as file:
        head = file.read(6)
    return next((compression for magic, compression in _MAGIC.items() if head.startswith(magic)), "none")


@lru_cache(maxsize=4)
def _zip(path: Path, changed: int, size: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _zip_members(index: zipfile.ZipFile) -> Iterator[Member]:
    for info in index.infolist():
        # the last member of a name counts
        if info.filename and not info.is_dir() and index.NameToInfo[info.filename] is info:
            yield Member(info.filename, info.header_offset, info.file_size)
    if "" in index.NameToInfo:
        raise zipfile.BadZipFile("a file in it has no name")


def _read_zipped(index: zipfile.ZipFile, member: Member) -> bytes:
    info = index.NameToInfo.get(member.name)
    if info is None or info.header_offset != member.at:
        raise InputError("no longer in the archive")
    if info.flag_bits & 1:
        raise InputError("encrypted; unpack the archive first")
    with index.open(info) as file:
        return file.read(member.size)


class _Bounded:
    """A file object that limits the size of headers: `tarfile` reads them whole, however long they claim to be."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"one of its headers claims {size} bytes")
        return self._stream.read(size)


def _tar_members(stream: IO[bytes]) -> Iterator[Member]:
    bounded: Any = _Bounded(stream)
    tar: Any  # the attribute `members` is documented, but missing from its type stubs
    with tarfile.open(fileobj=bounded, mode="r:", errors="surrogateescape") as tar:
        while info := tar.next():
            tar.members.clear()  # which otherwise grows with the archive
            if tar.offset < info.offset_data:
                raise tarfile.ReadError("a file in it has a negative size")
            if info.isreg() and not info.issparse():
                yield Member(info.name.removeprefix("./"), info.offset_data, info.size)
        bounded.seek(tar.offset)
        if any(bounded.read(tarfile.BLOCKSIZE)):  # tarfile takes any invalid header after the first as the end
            raise tarfile.ReadError("one of its headers can't be read")


@lru_cache(maxsize=4)
def _tar(path: Path, changed: int, size: int) -> "_CompressedTar":
    return _CompressedTar(path)


class _CompressedTar:
    """An open compressed tar, with a cache of the last decompressed blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | None = None
        self._forget()

    def _forget(self) -> None:
        self._blocks: deque[bytes] = deque()
        self._start = self._end = 0  # range of the cached blocks in the decompressed tar

    def read(self, at: int, size: int) -> bytes:
        """Return `size` bytes from offset `at` of the decompressed tar; fewer at its end."""
        with self._lock:
            try:
                return self._read(at, size)
            except BaseException:
                self._stream = None
                raise

    def _read(self, at: int, size: int) -> bytes:
        if self._stream is None or at < self._start:
            self._forget()
            self._stream = _DECOMPRESSORS[_compression(self._path)](self._path, "rb")
        cached = SEEK_BACK_BYTES + size
        # read1(), because read() loses the data before damage
        while self._end < at + size and (block := self._stream.read1(BLOCK_BYTES)):
            self._blocks.append(block)
            self._end += len(block)
            while self._start + len(self._blocks[0]) <= min(at, self._end - cached):
                self._start += len(self._blocks.popleft())
        found, end = deque[bytes](), self._end
        for block in reversed(self._blocks):
            begin = end - len(block)
            if end <= at:
                break
            found.appendleft(block[max(0, at - begin) : max(0, at + size - begin)])
            end = begin
        return b"".join(found)
