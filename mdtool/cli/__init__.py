"""The command line: one module per command; here what they share: entry point, signals, exit codes."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Annotated

import typer
from typer.exceptions import TyperException

from mdtool import __version__
from mdtool.cli import (
    bench,
    caption,
    chat,
    completion,
    config,
    detect,
    evaluate,
    gaze,
    merge,
    models,
    moderate,
    point,
    query,
    redact,
    render,
    report,
    serve,
)
from mdtool.errors import ExitCode, MdtoolError, without_objects
from mdtool.escaping import one_line
from mdtool.interruption import INTERRUPT_EVENT, ignore_lost_interrupt, interrupt
from mdtool.stdout import write_stdout

ENDED_BY = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":  # which has no SIGHUP
    ENDED_BY.append(signal.SIGHUP)

app = typer.Typer(
    name="mdtool",
    cls=config.ConfiguredGroup,
    help="Find, mask, moderate and describe what images and videos show. Runs on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("redact")(redact.redact)
app.command("moderate")(moderate.moderate)
app.command("gaze")(gaze.gaze)
app.command("render")(render.render)
app.command("report")(report.report)
app.command("caption")(caption.caption)
app.command("query")(query.query)
app.command("chat")(chat.chat)
app.command("detect")(detect.detect)
app.command("point")(point.point)
app.command("merge")(merge.merge)
app.command("serve")(serve.serve)
app.add_typer(models.app, name="models")
app.add_typer(evaluate.app, name="eval")
app.add_typer(bench.app, name="bench")
app.add_typer(config.app, name="config")


def _print_version(requested: bool) -> None:
    if requested:
        write_stdout(f"mdtool {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    install_completion: completion.Install = None,
    show_completion: completion.Show = None,
    version: Annotated[  # last, and passed on to every command
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Handle the options of the program itself."""


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    _replace_closed_streams()
    sys.unraisablehook = ignore_lost_interrupt
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        if code == ExitCode.OK:
            code = ExitCode.CLOSED_PIPE if isinstance(error, BrokenPipeError) else ExitCode.CANT_WRITE
    others = set(threading.enumerate()) - {threading.current_thread()}
    if others and all(thread.daemon for thread in others):
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)  # a thread blocked inside a library could crash during the interpreter's shutdown
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Open the null device for closed standard streams, lest a file opened later gets their descriptor and output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = os.O_RDONLY if name == "stdout" else os.O_RDWR  # so that writing results fails
            os.open(os.devnull, mode)  # gets the lowest free descriptor, which is this one
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def _drop_stdout() -> None:
    """Redirect stdout to the null device, so that a later flush of its buffer does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: list[str]) -> int:
    """Run one command in this process.

    Args:
        arguments: The command line without the name of the program.

    Returns:
        The exit code; an error is printed as one line on stderr.
    """
    for number in ENDED_BY:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's & set it
            signal.signal(number, _interrupt)
    try:
        code = app(arguments, prog_name="mdtool", standalone_mode=False) or ExitCode.OK
        if code == ExitCode.INTERRUPTED:
            print_error("interrupted")
        return code
    except TyperException as error:
        print_error(_usage_message(error))
        return error.exit_code
    except MdtoolError as error:
        print_error(one_line("; ".join([str(error), *getattr(error, "__notes__", [])])))
        return error.code
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # typer makes this of one
            raise
        _drop_stdout()
        return ExitCode.CLOSED_PIPE
    except KeyboardInterrupt:  # before or after the command, within which typer handles it
        print_error("interrupted")
        return ExitCode.INTERRUPTED
    except BaseException as error:  # such as a panic of a package in Rust, which is no Exception
        if os.environ.get("MDTOOL_DEBUG"):
            raise
        if isinstance(error, MemoryError) or str(error) == "can't start new thread":  # for want of room for its stack
            print_error("out of memory; free some, or raise the limit of this process")
            return ExitCode.SOME_FAILED
        what = without_objects(f"{type(error).__name__}: {error}")
        print_error(one_line(f"unexpected {what} (MDTOOL_DEBUG=1 shows where)"))
        return ExitCode.SOME_FAILED


def _usage_message(error: TyperException) -> str:
    """Return what is wrong with a command line and which help to read, or the help itself where no command is given."""
    message = error.format_message().replace(": Value error, ", ": ", 1)  # which Typer puts before what is wrong
    ctx = getattr(error, "ctx", None)
    help_command = f"{ctx.command_path if ctx else 'mdtool'} --help"
    return message if "\n" in message else f"{message.rstrip('.')}; see `{help_command}`"


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """End the run and remove what is unfinished; a second signal exits immediately."""
    if INTERRUPT_EVENT.is_set():
        os._exit(ExitCode.INTERRUPTED)
    interrupt()


def print_error(message: str) -> None:
    """Print one line on stderr, or the lines of a help text."""
    with contextlib.suppress(OSError):  # stderr may be closed
        lines = message if "\n" in message else f"mdtool: {message}"
        print("\n".join(map(one_line, lines.split("\n"))), file=sys.stderr, flush=True)
