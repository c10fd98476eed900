"""Atomic output folders: filled under a temporary name in the same parent folder, synced, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mdtool.errors import OutputError, output_errors_for
from mdtool.media.files.atomic_file import sync, temp_path
from mdtool.media.files.descriptor import is_named, path_of
from mdtool.media.files.file_lock import lock_folder


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill with files; rename it to the target on success, else delete it.

    A lock on it keeps a second run away from the same output. What a killed run left there is deleted.

    Raises:
        OutputError: With the target's name; it can't be written, or exists and is not an empty folder.
    """
    with output_errors_for(target):
        if os.path.lexists(target) and not (target.name and is_empty(target)):
            raise OutputError("exists already and is not an empty folder; give a new name")
        part = temp_path(target)
        part.mkdir(exist_ok=True)
        lock = _taken(part)
        opened = path_of(lock, part)
        try:
            try:
                for path in opened.iterdir():
                    path.unlink()
                yield opened
                for path in (*opened.iterdir(), opened):
                    sync(path)
                if lock is not None and not is_named(lock, part):
                    raise OutputError(f"can't be written: something else has taken the place of {part.name}")
                part.rename(target)
            except BaseException:
                if lock is None or is_named(lock, part):
                    shutil.rmtree(part, ignore_errors=True)
                raise
            sync(target.parent)
        finally:
            if lock is not None:
                os.close(lock)


def is_empty(folder: Path) -> bool:
    """Return whether this is an empty folder (and no link to one)."""
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def _taken(part: Path) -> int | None:
    try:
        return lock_folder(part)
    except BlockingIOError as error:
        raise OutputError("another run is writing it") from error
