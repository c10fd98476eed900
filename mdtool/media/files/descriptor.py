"""Paths of open files and folders: they lead to what was opened, whatever has its name by now.

Someone who may write into a folder can put a link in the place of a temporary file, through which the next opening by
name would write into another file. Linux has such paths; elsewhere the name is used.
"""

import os
from pathlib import Path

DESCRIPTORS = Path("/proc/self/fd")


def path_of(descriptor: int | None, name: Path) -> Path:
    """Return a path of this process to an open file or folder; its name where there is none.

    Args:
        descriptor: The file descriptor; None if it is not open.
        name: The path that it was opened by.
    """
    own = DESCRIPTORS / str(descriptor)
    return own if descriptor is not None and own.exists() else name


def is_named(descriptor: int, name: Path) -> bool:
    """Return whether an open file or folder still has this name itself, not through a link."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    except OSError:
        return False
