"""Outputs are whole or absent: written beside their name, synced, then renamed."""

import contextlib
import errno
import hashlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

from mdtool.errors import OutputError, write_error_message
from mdtool.media.files.file_lock import NO_FOLLOW, lock

if sys.platform != "win32":
    import fcntl


def temp_path(target: Path) -> Path:
    """What is being written, until it is whole: hidden, and in the same folder."""
    name = f".{target.name}.part"
    if len(os.fsencode(name)) > 250:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}.part"
    return target.with_name(name)


class AtomicFile:
    """A file that appears under its name only when `commit` is called. Use as a context manager.

    Write to `part`, which lies in the same folder. A lock on it keeps a second run from the same output; what a
    killed run left there is written over, unless it has another name by now, as a finished output: then it is only
    unlinked here.
    """

    def __init__(self, target: Path, overwrite: bool) -> None:
        self.target = target
        self.overwrite = overwrite
        self.part = temp_path(target)
        self._lock: int | None = None

    def __enter__(self) -> "AtomicFile":
        if os.path.lexists(self.target):
            if not self.overwrite:
                raise OutputError("exists already; --overwrite replaces it")
            if not self.target.is_symlink() and not self.target.is_file():
                raise OutputError("is no file that could be replaced; -o - writes to stdout")
        while self._lock is None:
            self._take()
        return self

    def _take(self) -> None:
        """Locks the part. It may be gone by then, if another run was just about to end, and it may be another file too,
        if a run was killed while it gave it its name: then it is gone from here, and there is no lock."""
        try:
            part = os.open(self.part, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
        except OSError as error:
            raise OutputError(write_error_message(error)) from error
        try:
            lock(part)
            state = os.fstat(part)
            if not os.path.samestat(state, os.stat(self.part)):
                return
            if state.st_nlink > 1:
                os.unlink(self.part)
            else:
                self._lock = part
        except BlockingIOError as error:
            raise OutputError("another run is writing it") from error
        except FileNotFoundError:
            pass
        except OSError as error:
            raise OutputError(write_error_message(error)) from error
        finally:
            if self._lock is None:
                os.close(part)

    def open_append(self) -> int:
        """The part, open and locked for as long as whoever goes on writing to it keeps it so; what is written is added
        at its end. It is empty now. Not on Windows, which can't rename what is open."""
        assert self._lock is not None
        assert sys.platform != "win32"
        os.ftruncate(self._lock, 0)
        file = os.dup(self._lock)  # which shares the lock
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        return file

    def commit(self) -> None:
        assert self._lock is not None
        try:
            os.fsync(self._lock)
            if sys.platform == "win32":
                self._unlock()  # for what is open can't be renamed there
            if self.overwrite:
                os.replace(self.part, self.target)
            else:
                self._rename_to_new()
            sync(self.target.parent)
        except FileExistsError as error:
            raise OutputError("exists already; --overwrite replaces it") from error
        except OSError as error:
            raise OutputError(write_error_message(error)) from error

    def _rename_to_new(self) -> None:
        if sys.platform == "win32":
            os.rename(self.part, self.target)  # which refuses to replace anything there
            return
        try:
            os.link(self.part, self.target)  # unlike a rename, refuses to replace what came up meanwhile
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            os.rename(self.part, self.target)

    def __exit__(self, *_: object) -> None:
        if sys.platform == "win32":
            self._unlock()  # nor can it be deleted
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.part)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def create_new(part: Path) -> BinaryIO:
    """A new file to write and read, in place of what a killed run left here, which may be a link to another file.

    Raises OSError.
    """
    part.unlink(missing_ok=True)
    return part.open("x+b")


def sync(path: Path) -> None:
    """A file's content, or the names in a folder, to the disk. Raises OSError."""
    if sys.platform == "win32" and path.is_dir():
        return  # which can't be opened there
    opened = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
