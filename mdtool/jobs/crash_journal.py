"""Names the input at work, so that after a crash inside a library the next run knows which one it was.

Decoders run in this process: what crashes one ends the run, and no code of ours runs any more. So a hidden file beside
the outputs tells what is at work, a line at each begin and end, and Python's `faulthandler` adds by which signal the
process died and in which thread. The next run leaves that input out with an error. Where several were at work and the
thread is a library's own, it gives each of them to its workers alone, so that another crash has one cause.

A run that was killed from outside leaves no such line, and its inputs are tried again.
"""

import contextlib
import faulthandler
import json
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdtool import __version__
from mdtool.media.files.file_lock import NO_FOLLOW, lock
from mdtool.media.sources.inputs import Input, State, file_state

# As faulthandler names them.
_SIGNALS = re.compile("Segmentation fault|Bus error|Aborted|Illegal instruction|Floating point exception")
_THREAD = re.compile(r"Current thread 0x([0-9a-f]+)")
_CRASH = "Fatal Python error"
_ENTRY = re.compile(r"\{.*\}\n")


@dataclass
class Remains:
    """What an earlier run left in its journal.

    Attributes:
        crashed: Inputs that end the program, and what is known of each: its state, the version and the signal.
        suspects: Inputs of which one ended it.
    """

    crashed: dict[str, dict[str, Any]] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)


def parse_journal(text: str) -> Remains:
    """Read what a run left; lines that are none of ours come from `faulthandler`."""
    remains = Remains()
    states: dict[str, State | None] = {}  # of inputs at work
    threads: dict[int, str] = {}  # the input that each thread reads
    for line in text.splitlines():
        try:
            entry = json.loads(line[line.index("{") :])
            match entry:
                case {"crashed": str(name), "state": _, "version": str(), "signal": str()}:
                    remains.crashed[name] = entry
                case {"suspect": str(name)}:
                    remains.suspects.add(name)
                case {"begin": str(name), "state": state}:
                    states[name] = state
                    remains.crashed.pop(name, None)  # it has changed since
                case {"end": str(name)}:
                    states.pop(name, None)
                    remains.suspects.discard(name)
                case {"read": str(name), "thread": int(thread)}:
                    threads[thread] = name
                case {"done": int(thread)}:
                    threads.pop(thread, None)
        except (ValueError, RecursionError):
            continue
    dump = _ENTRY.sub("", text)  # other threads still write entries while it is written, each of them whole
    if _CRASH not in dump:
        return remains
    crashed = _THREAD.search(dump)
    reading = threads.get(int(crashed[1], 16)) if crashed else None
    suspects = [reading] if reading else list(threads.values()) or list(states)
    if len(set(suspects)) == 1:
        name, signal = suspects[0], _SIGNALS.search(dump)
        remains.crashed[name] = {
            "crashed": name,
            "state": states.get(name),
            "version": __version__,
            "signal": signal[0] if signal else "a crash",
        }
        remains.suspects.discard(name)
    else:
        remains.suspects.update(suspects)
    return remains


class CrashJournal:
    """The journal of one run, a context manager. Its methods may be called from any thread.

    Where the file can't be written, another run holds it, or on Windows, nothing is noted.
    """

    def __init__(self, path: Path | None) -> None:
        """Create a journal that is opened on entering the context.

        Args:
            path: The file, whose folder is made if need be; None for no journal.
        """
        self._path = path
        self._file: int | None = None
        self._takes_faults = self._made_folder = False
        self._remains = Remains()

    def __enter__(self) -> "CrashJournal":
        if self._path is not None and sys.platform != "win32":
            with contextlib.suppress(OSError, ValueError):
                self._open(self._path)
        return self

    def _open(self, path: Path) -> None:
        self._made_folder = not path.parent.exists()
        path.parent.mkdir(exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | NO_FOLLOW, 0o600)
        try:
            lock(file)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError
            with open(file, encoding="utf-8", errors="backslashreplace", closefd=False) as text:
                self._remains = parse_journal(text.read())
            crashed = self._remains.crashed = {
                name: one for name, one in self._remains.crashed.items() if one["version"] == __version__
            }
            kept = [*crashed.values(), *({"suspect": name} for name in sorted(self._remains.suspects))]
            lines = "".join(json.dumps(one) + "\n" for one in kept)
            os.ftruncate(file, 0)
            os.write(file, lines.encode())
        except BaseException:
            os.close(file)
            raise
        self._file = file
        if not faulthandler.is_enabled():  # else the user wants it on stderr
            faulthandler.enable(file, all_threads=True)  # else it does not say which one crashed
            self._takes_faults = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._takes_faults:
            faulthandler.disable()
            self._takes_faults = False
        if self._file is None or self._path is None:
            return
        with contextlib.suppress(OSError):
            if not self._remains.crashed and not (kind and self._remains.suspects):
                os.unlink(self._path)
                if self._made_folder:
                    self._path.parent.rmdir()  # if there are no outputs
        os.close(self._file)
        self._file = None

    def crash_of(self, source: Input) -> str | None:
        """Return what to say of an input that has crashed the program, unless it or the program has changed since."""
        known = self._remains.crashed.get(source.name)
        state = file_state(source)
        if known is None or known["state"] != (list(state) if state else None):
            return None
        assert self._path
        return (
            f"the program crashed while it was read ({known['signal']}), so it is left out until it changes; "
            f"remove {self._path} to try it again"
        )

    def is_suspect(self, source: Input) -> bool:
        """Return whether an input was at work in a crash, among others, and has to be tried alone."""
        return source.name in self._remains.suspects

    @contextmanager
    def working(self, source: Input) -> Iterator[None]:
        """Note an input while it is at work in this thread and in no other."""
        self.begin(source)
        try:
            yield
        finally:
            self.end(source)

    def begin(self, source: Input) -> None:
        """Note that work on an input begins."""
        self._remains.crashed.pop(source.name, None)
        self._write({"begin": source.name, "state": file_state(source)})

    def end(self, source: Input) -> None:
        """Note that work on an input has ended, however it did."""
        self._remains.suspects.discard(source.name)
        self._write({"end": source.name})

    @contextmanager
    def reading(self, source: Input) -> Iterator[None]:
        """Note which input of those at work this thread reads."""
        thread = threading.get_ident()
        self._write({"read": source.name, "thread": thread})
        try:
            yield
        finally:
            self._write({"done": thread})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # such as a full disk: the outputs matter, and fail by themselves
                os.write(self._file, (json.dumps(entry) + "\n").encode())
