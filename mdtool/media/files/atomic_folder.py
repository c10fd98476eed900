"""Folders of outputs are whole or absent, as files are: filled beside their name, synced, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mdtool.errors import OutputError, output_errors_for
from mdtool.media.files.atomic_file import sync, temp_path
from mdtool.media.files.file_lock import lock_folder


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder to fill with files, which is taken away if that fails, and else gets the target's name.

    A lock on it keeps a second run from the same output; what a killed run left there is thrown away. OutputError,
    with the target's name, for all that can't be written, and for a target that is there and no empty folder.
    """
    with output_errors_for(target):
        if os.path.lexists(target) and not (target.name and is_empty(target)):
            raise OutputError("exists already, and is no empty folder; give a new name")
        part = temp_path(target)
        part.mkdir(exist_ok=True)
        lock = _taken(part)
        try:
            try:
                for path in part.iterdir():
                    path.unlink()
                yield part
                for path in (*part.iterdir(), part):
                    sync(path)
                part.rename(target)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            sync(target.parent)
        finally:
            if lock is not None:
                os.close(lock)


def is_empty(folder: Path) -> bool:
    """Whether it is a folder, and nothing is in it."""
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def _taken(part: Path) -> int | None:
    try:
        return lock_folder(part)
    except BlockingIOError as error:
        raise OutputError("another run is writing it") from error
