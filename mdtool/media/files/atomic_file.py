"""Outputs are whole or absent: written beside their name, synced, then renamed."""

import contextlib
import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from mdtool.errors import OutputError, write_error_message


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
            lock = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OutputError(write_error_message(error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = os.fstat(lock)
            if not os.path.samestat(state, os.stat(self.part)):
                return
            if state.st_nlink > 1:
                os.unlink(self.part)
            else:
                self._lock = lock
        except BlockingIOError as error:
            raise OutputError("another run is writing it") from error
        except FileNotFoundError:
            pass
        except OSError as error:
            raise OutputError(write_error_message(error)) from error
        finally:
            if self._lock is None:
                os.close(lock)

    def open_append(self) -> int:
        """The part, open and locked for as long as whoever goes on writing to it keeps it so; what is written is added
        at its end. It is empty now."""
        assert self._lock is not None
        os.ftruncate(self._lock, 0)
        file = os.dup(self._lock)  # which shares the lock
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        return file

    def commit(self) -> None:
        assert self._lock is not None
        try:
            os.fsync(self._lock)
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
        try:
            os.link(self.part, self.target)  # unlike a rename, refuses to replace what came up meanwhile
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            os.rename(self.part, self.target)

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.part)
            os.close(self._lock)


def create_new(part: Path) -> BinaryIO:
    """A new file to write and read, in place of what a killed run left here, which may be a link to another file.

    Raises OSError.
    """
    part.unlink(missing_ok=True)
    return part.open("x+b")


def sync(path: Path) -> None:
    """A file's content, or the names in a folder, to the disk. Raises OSError."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
