"""The command line: one file a command, and here what holds for all of them."""

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
    config,
    detect,
    evaluate,
    gaze,
    models,
    moderate,
    point,
    query,
    redact,
    render,
    report,
)
from mdtool.console import one_line
from mdtool.errors import ExitCode, MdtoolError
from mdtool.interruption import INTERRUPT_EVENT, ignore_lost_interrupt, interrupt
from mdtool.stdout import write_stdout

ENDED_BY = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":  # which has no SIGHUP
    ENDED_BY.append(signal.SIGHUP)

app = typer.Typer(
    name="mdtool",
    cls=config.ConfiguredGroup,
    help="Sees for you: say in plain words what to find in pictures and videos, on your own machine.",
    no_args_is_help=True,
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
app.command("detect")(detect.detect)
app.command("point")(point.point)
app.add_typer(models.app, name="models")
app.add_typer(evaluate.app, name="eval")
app.add_typer(bench.app, name="bench")
app.add_typer(config.app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        import av

        ffmpeg = ".".join(str(part) for part in av.library_versions["libavcodec"])
        try:
            torch = version("torch")
        except PackageNotFoundError:
            torch = "is missing"
        write_stdout(f"mdtool {__version__} (torch {torch}, PyAV {av.__version__}, libavcodec {ffmpeg})\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and those of the engines.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line and ends the process with the exit code that its outcome has."""
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
        os._exit(code)  # one that is held up inside a library could crash there while Python is taken down
    sys.exit(code)


def _replace_closed_streams() -> None:
    """So that no file that is opened later takes the place of one, and gets what is said there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = os.O_RDONLY if name == "stdout" else os.O_RDWR  # results must not vanish unnoticed
            os.open(os.devnull, mode)  # gets the lowest number that is free, which is this one's
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def _drop_stdout() -> None:
    """What is still buffered for it can't be written either: lets nothing try."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: list[str]) -> int:
    """One command; what goes wrong is told in one line on stderr and by the exit code."""
    for asked in ENDED_BY:
        if signal.getsignal(asked) != signal.SIG_IGN:  # as nohup and a shell's & have it
            signal.signal(asked, _interrupt)
    try:
        code = app(arguments, prog_name="mdtool", standalone_mode=False) or ExitCode.OK
        if code == ExitCode.INTERRUPTED:
            print_stderr("interrupted")
        return code
    except TyperException as error:
        message = error.format_message().replace(": Value error, ", ": ", 1)  # typer puts that before what is wrong
        print_stderr(f"{message} (mdtool --help shows how)" if "\n" not in message else message)
        return error.exit_code
    except MdtoolError as error:
        print_stderr(one_line("; ".join([str(error), *getattr(error, "__notes__", [])])))
        return error.code
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # typer makes this of one
            raise
        _drop_stdout()
        return ExitCode.CLOSED_PIPE
    except Exception as error:
        if os.environ.get("MDTOOL_DEBUG"):
            raise
        print_stderr(one_line(f"unexpected {type(error).__name__}: {error} (MDTOOL_DEBUG=1 shows where)"))
        return ExitCode.SOME_FAILED


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Asked once: ends what is under way, and takes it away. Asked again: at once."""
    if INTERRUPT_EVENT.is_set():
        os._exit(ExitCode.INTERRUPTED)
    interrupt()


def print_stderr(message: str) -> None:
    """One line for the person, on stderr."""
    with contextlib.suppress(OSError):  # nobody may listen
        print(message if "\n" in message else f"mdtool: {message}", file=sys.stderr, flush=True)
