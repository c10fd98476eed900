"""The exit codes that a pipeline can rely on, the errors that carry them, and why a file can't be written."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    NO_INPUT = 3
    MODEL = 4
    FOUND = 5
    CANT_WRITE = 74
    INCOMPLETE = 75
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class MdtoolError(Exception):
    """A failure with a one-line message for the person at the keyboard."""

    code = ExitCode.SOME_FAILED


class UsageError(MdtoolError):
    """An option or a combination of options that can't be."""

    code = ExitCode.USAGE


class NoInputFound(MdtoolError):
    """Nothing to work on."""

    code = ExitCode.NO_INPUT


class InputError(MdtoolError):
    """One input that can't be read; the others go on."""


class ReadTimeout(InputError):
    """An input that did not come in the time that it had."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"was not read within {seconds:g} s")


class OutputError(MdtoolError):
    """The result can't be written: disk full, folder missing, no permission."""

    code = ExitCode.CANT_WRITE


class StdoutError(OutputError):
    """What goes to stdout can't be written, whatever became of the file."""


@contextmanager
def output_errors_for(target: object) -> Iterator[None]:
    """What can't be written is told with the name of what it is, as an OutputError."""
    try:
        yield
    except (StdoutError, BrokenPipeError):
        raise
    except OutputError as error:
        raise OutputError(f"{target}: {error}") from error
    except OSError as error:
        raise OutputError(f"{target}: {write_error_message(error)}") from error


def write_error_message(error: OSError) -> str:
    """Why a file can't be written, and what to do."""
    reasons = {
        errno.ENOSPC: "can't be written: the disk is full",
        errno.EDQUOT: "can't be written: the disk quota is used up",
        errno.EFBIG: "can't be written: it would be larger than this system allows",
        errno.EACCES: "can't be written: permission denied",
        errno.EROFS: "can't be written: the disk is read-only",
        errno.ENOENT: "can't be written: its folder does not exist",
        errno.ENOTDIR: "can't be written: a part of its path is no folder",
        errno.EISDIR: "is a folder: give a file name, or a folder that exists",
        errno.ENAMETOOLONG: "can't be written: its name is too long",
    }
    return reasons.get(error.errno or 0, f"can't be written: {error.strerror or error}")
