"""Exit codes, the errors that carry them, and messages for files that can't be written."""

import errno
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """The exit codes of the program, which scripts may rely on."""

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


_OBJECT = re.compile(r"\s*<[^<>]* at 0x[0-9a-f]+>")  # as Python shows one that has no text of its own


def without_objects(text: str) -> str:
    """Return a library's message without the objects that it quotes by their address, such as the buffer it read."""
    return _OBJECT.sub("", text)


class MdtoolError(Exception):
    """A failure with a one-line message for the user, which may quote what a library says."""

    code = ExitCode.SOME_FAILED

    def __init__(self, message: object = "") -> None:
        super().__init__(without_objects(str(message)))


class UsageError(MdtoolError):
    """A bad option, or options that exclude each other."""

    code = ExitCode.USAGE


class NoInputFound(MdtoolError):
    """No input matches."""

    code = ExitCode.NO_INPUT


class InputError(MdtoolError):
    """One input can't be processed; the others are."""


class ReadTimeout(InputError):
    """An input was not read within its time limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"was not read within {seconds:g} s")


class OutputError(MdtoolError):
    """The output can't be written: disk full, folder missing, no permission."""

    code = ExitCode.CANT_WRITE


class StdoutError(OutputError):
    """Stdout can't be written to, whatever became of other outputs."""


class LibraryFault(Exception):
    """A library raised something that is no Exception, such as SystemExit or a panic of a package in Rust."""


NO_MEMORY = ("Insufficient memory", "not enough memory")  # as OpenCV and PyTorch say it, in errors of their own


@contextmanager
def library_faults() -> Iterator[None]:
    """Raise as a LibraryFault whatever is no Exception, except for an interruption and the end of a generator.

    One such input would otherwise end the work on all others. What says that memory ran out is a MemoryError.
    """
    try:
        yield
    except (MdtoolError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        if any(words in str(error) for words in NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise
    except BaseException as error:
        raise LibraryFault(f"{type(error).__name__}: {error}") from error


def record_fault(error: Exception) -> str:
    """Return what is wrong with a record, read from JSON, by the error that it caused."""
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON: {error}"
    if isinstance(error, KeyError):
        return f"lacks {error}"
    if isinstance(error, TypeError | AttributeError):
        return "a value is of another type"
    if isinstance(error, OverflowError):
        return "a number is too large"
    if isinstance(error, ValueError) and "integer string conversion" in str(error):  # which Python limits
        return "a number has too many digits"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


@contextmanager
def output_errors_for(target: object) -> Iterator[None]:
    """Raise an OSError or OutputError as an OutputError that names its target."""
    try:
        yield
    except (StdoutError, BrokenPipeError):
        raise
    except OutputError as error:
        raise OutputError(f"{target}: {error}") from error
    except OSError as error:
        raise OutputError(f"{target}: {write_error_message(error)}") from error


def read_error_message(error: OSError) -> str:
    """Return why a file or a folder can't be read."""
    return f"can't be read: {(error.strerror or str(error)).lower()}"


def write_error_message(error: OSError) -> str:
    """Return why a file can't be written, and what to do."""
    reasons = {
        errno.ENOSPC: "can't be written: the disk is full",
        errno.EDQUOT: "can't be written: the disk quota is used up",
        errno.EFBIG: "can't be written: it would be larger than this system allows",
        errno.EACCES: "can't be written: permission denied",
        errno.EROFS: "can't be written: the disk is read-only",
        errno.ENOENT: "can't be written: its folder does not exist",
        errno.ENOTDIR: "can't be written: a part of its path is not a folder",
        errno.EISDIR: "is a folder: give a file name, or a folder that exists",
        errno.ENAMETOOLONG: "can't be written: its name is too long",
    }
    return reasons.get(error.errno or 0, f"can't be written: {error.strerror or error}")
