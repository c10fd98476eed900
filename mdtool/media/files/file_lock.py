"""Locks that keep a second run from the same output. They end with the process that holds them (flock).

On Windows nothing is locked: a folder can't be, and what is locked can't be read by others or renamed. Two runs at once
on the same output are not kept apart there.
"""

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


def lock(descriptor: int, wait: bool = False) -> None:
    """Lock an open file or folder.

    Args:
        descriptor: File descriptor of the file or folder.
        wait: Block until the lock is free.

    Raises:
        BlockingIOError: Another process holds the lock, and `wait` is False.
        OSError: It can't be locked.
    """
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def lock_folder(folder: Path) -> int | None:
    """Open a folder and lock it: the descriptor, which holds the lock until it is closed; None on Windows.

    Raises:
        BlockingIOError: Another has it.
        OSError: It can't be locked, or is no folder.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | NO_FOLLOW)
    try:
        lock(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
