"""Panics of packages in Rust (tokenizers, safetensors): no Exception, and with a stack trace printed on stderr."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2  # the file descriptor, to which Rust writes whatever Python's sys.stderr is


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise a panic as a RuntimeError with its message, without the stack trace.

    What else is written to stderr meanwhile appears at the end.

    Raises:
        RuntimeError: A package in Rust panicked.
    """
    with tempfile.TemporaryFile(prefix="mdtool-") as held:
        panicked = False
        stderr = os.dup(STDERR)
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # pyo3 makes one class a package, and none can be imported
                raise
            panicked = True
            raise RuntimeError(str(error)) from None
        finally:
            os.dup2(stderr, STDERR)
            if not panicked:
                held.seek(0)
                with os.fdopen(stderr, "wb", closefd=False) as file:
                    shutil.copyfileobj(held, file)
            os.close(stderr)
