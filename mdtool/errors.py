"""The exit codes that a pipeline can rely on, and the errors that carry them."""

from enum import IntEnum, unique


@unique
class Exit(IntEnum):
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

    code = Exit.SOME_FAILED


class UsageError(MdtoolError):
    """An option or a combination of options that can't be."""

    code = Exit.USAGE


class NoInput(MdtoolError):
    """Nothing to work on."""

    code = Exit.NO_INPUT


class InputError(MdtoolError):
    """One input that can't be read; the others go on."""


class TooSlow(InputError):
    """An input that did not come in the time that it had."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"was not read within {seconds:g} s")


class OutputError(MdtoolError):
    """The result can't be written: disk full, folder missing, no permission."""

    code = Exit.CANT_WRITE


class StdoutError(OutputError):
    """What goes to stdout can't be written, whatever became of the file."""
