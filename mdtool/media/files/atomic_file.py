"""Atomic output files: written under a temporary name in the same folder, synced, then renamed."""

import contextlib
import errno
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from mdtool.errors import OutputError, write_error_message
from mdtool.interruption import uninterrupted
from mdtool.media.files.descriptor import is_named, path_of
from mdtool.media.files.file_lock import NO_FOLLOW, lock

if sys.platform != "win32":
    import fcntl


def temp_path(target: Path) -> Path:
    """Return the hidden temporary path in the same folder under which a file is written until it is complete."""
    name = f".{target.name}.part"
    if len(os.fsencode(name)) > 250:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}.part"
    return target.with_name(name)


class AtomicFile:
    """A file that appears under its name only when `commit` is called. Use as a context manager.

    Write to `part`, the temporary file in the same folder. A lock on it keeps a second run away from the same output.
    What a killed run left there is overwritten; if it is also hard-linked under another name, as a finished output is,
    it is only unlinked. What takes its name meanwhile, such as a link, is never written to.

    Nobody may read it who may not read the file that it replaces; see `restrict` for those that it is made from.

    Raises:
        OutputError: The target exists and `overwrite` is False, it is not a regular file, another run is writing it,
            or it can't be written.
    """

    def __init__(self, target: Path, overwrite: bool) -> None:
        self.target = target
        self.overwrite = overwrite
        self._name = temp_path(target)
        self._lock: int | None = None

    @property
    def part(self) -> Path:
        """The temporary file: a path to the open file, where the system has such."""
        return path_of(self._lock, self._name)

    def __enter__(self) -> "AtomicFile":
        if os.path.lexists(self.target):
            if not self.overwrite:
                raise OutputError("exists already; --overwrite replaces it")
            if not self.target.is_symlink() and not self.target.is_file():
                raise OutputError("not a regular file, so it can't be replaced; -o - writes to stdout")
        try:
            with uninterrupted():
                while self._lock is None:
                    self._try_lock()
        except KeyboardInterrupt:
            self.__exit__()
            raise
        return self

    def _try_lock(self) -> None:
        """Open and lock the temporary file; leave no lock where that must be tried again.

        Another run that is ending may have removed the file meanwhile. A run that was killed between link and unlink
        leaves a file that is also the finished output: it is unlinked here, not written to.
        """
        try:
            part = os.open(self._name, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
        except OSError as error:
            raise OutputError(self._open_error(error)) from error
        try:
            lock(part)
            state = os.fstat(part)
            if not stat.S_ISREG(state.st_mode):
                raise OutputError(self._not_its_own())
            if not is_named(part, self._name):
                return
            if state.st_nlink > 1:
                os.unlink(self._name)
            else:
                self._lock = part
                self.restrict(self.target)
        except BlockingIOError as error:
            raise OutputError("another run is writing it") from error
        except OSError as error:
            raise OutputError(write_error_message(error)) from error
        finally:
            if self._lock is None:
                os.close(part)

    def _open_error(self, error: OSError) -> str:
        is_link = error.errno in (errno.ELOOP, errno.EMLINK)
        return self._not_its_own() if is_link or os.path.isdir(self._name) else write_error_message(error)

    def _not_its_own(self) -> str:
        return f"can't be written: its temporary file {self._name.name} is a link, a folder or a device; remove it"

    def restrict(self, source: Path | None) -> None:
        """Take the permissions from group and others that they don't have on a file that this one is made from.

        Args:
            source: The file; None, or a path that is no file, changes nothing.
        """
        assert self._lock is not None
        if sys.platform != "win32" and source and os.path.isfile(source):
            mode = os.fstat(self._lock).st_mode
            restricted = mode & (source.stat().st_mode | stat.S_IRUSR | stat.S_IWUSR)
            if restricted != mode:
                os.fchmod(self._lock, stat.S_IMODE(restricted))

    def open_append(self) -> int:
        """Truncate the temporary file and open it for appending. Not on Windows, which can't rename an open file.

        Returns:
            A file descriptor, which holds the lock until it is closed.
        """
        assert self._lock is not None
        if sys.platform != "win32":
            os.ftruncate(self._lock, 0)
            file = os.dup(self._lock)  # which shares the lock
            fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
            return file
        raise NotImplementedError

    def commit(self, name: Path | None = None) -> None:
        """Sync the temporary file to disk and rename it to the target.

        Args:
            name: Another file in the same folder to rename it to, which follows the same rules.

        Raises:
            OutputError: It can't be written, or a target that may not be replaced was created meanwhile.
        """
        assert self._lock is not None
        try:
            os.fsync(self._lock)
            if not is_named(self._lock, self._name):
                raise OutputError(f"can't be written: something else has taken the place of {self._name.name}")
            if sys.platform == "win32":
                self._unlock()  # for what is open can't be renamed there
            if self.overwrite:
                os.replace(self._name, name or self.target)
            else:
                self._rename_to_new(name or self.target)
            sync(self.target.parent)
        except FileExistsError as error:
            raise OutputError("exists already; --overwrite replaces it") from error
        except OSError as error:
            raise OutputError(write_error_message(error)) from error

    def _rename_to_new(self, target: Path) -> None:
        if sys.platform == "win32":
            os.rename(self._name, target)  # which refuses to replace anything there
            return
        part, folder = self.part, os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Unlike rename, fails if the target exists by now. Given a folder Python calls linkat, which follows the
            # path to the open file, whatever has its name by now.
            os.link(part, target.name, dst_dir_fd=folder, follow_symlinks=part != self._name)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            os.rename(self._name, target)
        finally:
            os.close(folder)

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            if sys.platform == "win32":
                self._unlock()  # nor can it be deleted
            with contextlib.suppress(OSError):  # there may be none, or a folder in its place
                os.unlink(self._name)
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_leftover(target: Path) -> None:
    """Remove the temporary file of a finished output, which a run that was killed has left.

    It may be the output itself, linked under that name too. What another run is writing stays, and so does what is no
    regular file, such as a link.
    """
    name = temp_path(target)
    with contextlib.suppress(OSError):  # there is none, or it is locked
        if not stat.S_ISREG(os.lstat(name).st_mode):
            return
        part = os.open(name, os.O_RDONLY | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0))
        try:
            lock(part)
            if stat.S_ISREG(os.fstat(part).st_mode) and is_named(part, name):
                os.unlink(name)
        finally:
            os.close(part)


def create_new(part: Path) -> BinaryIO:
    """Create an empty file for writing and reading; what a killed run left there, perhaps a link, is unlinked first."""
    part.unlink(missing_ok=True)
    return part.open("x+b")


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk (fsync)."""
    if sys.platform == "win32" and path.is_dir():
        return  # which can't be opened there
    opened = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
