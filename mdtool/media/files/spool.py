"""Temporary files, of which nothing is left however the program ends: where the system can, they have no name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mdtool.media.files.descriptor import DESCRIPTORS, path_of

NEW_FILE_MODE = 0o666  # less the umask


@contextmanager
def spool(mode: str = "w+b", **text: Any) -> Iterator[tuple[Any, Path]]:
    """Open a temporary file, and yield it with a path by which this process can open it again.

    Without a name its permissions protect nothing, so they are those of any new file, which an output made from it
    takes over.

    Args:
        mode: As of `open`.
        text: Encoding and error handler, as of `open`.
    """
    if DESCRIPTORS.is_dir():
        with tempfile.TemporaryFile(mode, prefix="mdtool-", **text) as file:
            os.fchmod(file.fileno(), NEW_FILE_MODE)
            yield file, path_of(file.fileno(), DESCRIPTORS)
    else:
        with tempfile.NamedTemporaryFile(mode, prefix="mdtool-", **text) as named:
            yield named, Path(named.name)
