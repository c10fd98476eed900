"""Entry point of `mdtool` and of `python -m mdtool`."""

import signal

from mdtool.interruption import quit_at_once


def main() -> None:
    """Run the command line. A signal during its imports ends the process with one line, not a traceback of them."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, quit_at_once)
    from mdtool.cli import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
