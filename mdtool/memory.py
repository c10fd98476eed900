"""The budget of memory: what the decoded frames and pictures that are alive may take together.

A small file can stand for gigabytes of pixels. What it would take is estimated before it is decoded, so that it fails
alone, with one line, instead of ending the run or making the machine swap. Inputs that are read ahead wait for each
other: one is decoded when those before it have left enough room.
"""

import os
import re
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdtool.errors import InputError
from mdtool.interruption import raise_if_interrupted

if TYPE_CHECKING:
    import numpy as np
if sys.platform != "win32":
    import resource

SHARE = 4  # the default budget is the memory of the machine or the container, divided by this
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
FALLBACK = 4 * 10**9  # bytes, where the system does not tell how much memory it has
CGROUPS = Path("/sys/fs/cgroup")

POLL_SECONDS = 0.1

_chosen: list[int] = []  # the budget in bytes that was asked for, if any
_thread = threading.local()  # its `turn`: that of the input which the thread reads ahead


def choose_budget(size: int | None) -> None:
    """Set the budget in bytes; None for the default."""
    _chosen[:] = [] if size is None else [size]


def chosen_budget() -> int | None:
    """Return the budget in bytes that was set; None for the default."""
    return _chosen[0] if _chosen else None


def budget() -> int:
    """Return the budget in bytes."""
    return _chosen[0] if _chosen else available() // SHARE


def parse_size(text: str) -> int:
    """Parse a size such as "2GB", "500MiB" or "1.5G", in bytes.

    Raises:
        ValueError: It is not a size, or zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?I?)B?", text.strip().upper())
    if match is None or match[2] not in UNITS or not float(match[1]):
        raise ValueError(f"{text!r} is not a size of memory; give one such as 2GB")
    return int(float(match[1]) * UNITS[match[2]])


class OverBudget(InputError):
    """An input that would take more memory than the whole budget."""


class NoRoom(InputError):
    """An input that does not fit into what others have left of the budget, and may later."""

    def __init__(self) -> None:
        super().__init__("there is no memory left for it now")


def check_fits(needed: int) -> None:
    """Check that what an input takes in memory fits into the budget.

    Args:
        needed: Bytes, as estimated.

    Raises:
        OverBudget: It does not.
    """
    if needed > budget():
        raise OverBudget(
            f"would take about {_gigabytes(needed)} of memory, and the budget is {_gigabytes(budget())}; "
            "scale it down, or give more with --memory"
        )


class Account:
    """The bytes that are alive: of decoders at work, of what they decoded until it is freed, of videos under way."""

    def __init__(self, limit: int | None = None) -> None:
        """Start with nothing; `limit` in bytes, None for the budget."""
        self.changed = threading.Condition()
        self.alive = 0
        self._limit = limit

    def has_room(self, size: int, own: int = 0) -> bool:
        """Return whether so many bytes may be added: if they fit, or nothing is alive but what the asker has."""
        return self.alive <= own or self.alive + size <= (self._limit or budget())

    def take(self, size: int, own: int = 0) -> None:
        """Add bytes for which there is room; see `has_room`. Raises NoRoom if there is none."""
        with self.changed:
            if not self.has_room(size, own):
                raise NoRoom
            self.add(size)

    def add(self, size: int) -> None:
        """Add bytes, fewer if it is negative; whoever waits is told."""
        with self.changed:
            self.alive += size
            self.changed.notify_all()

    def add_while_alive(self, pixels: "np.ndarray") -> None:
        """Add the bytes of an array until it is freed, with all views of it."""
        owner: Any = pixels
        while isinstance(owner.base, type(pixels)):
            owner = owner.base
        self.add(owner.nbytes)
        weakref.finalize(owner, self.add, -owner.nbytes).atexit = False

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count what a video takes while it is processed: less is read ahead meanwhile."""
        self.add(size)
        try:
            yield
        finally:
            self.add(-size)


ACCOUNT = Account()


class Attempt:
    """Reads one input now or not at all: for threads in which nothing may wait, such as those of a server."""

    def __init__(self, account: Account, own: int = 0) -> None:
        """Prepare to read.

        Args:
            account: Tells what is alive.
            own: Bytes of it that belong to the input too.
        """
        self._account, self._own = account, own
        self._reserved = 0
        self._pixels: list[np.ndarray] = []

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Read the input in this thread. Afterwards what `keep` was told counts until it is freed, and nothing else."""
        _thread.turn = self
        try:
            yield
        finally:
            _thread.turn = None
            with self._account.changed:
                self.end()
                for pixels in self._pixels:
                    self._account.add_while_alive(pixels)
            self._pixels.clear()

    def end(self) -> None:
        """Give back what is reserved."""
        with self._account.changed:
            self._account.add(-self._reserved)
            self._reserved = 0

    def reserve(self, needed: int) -> None:
        """Reserve so many bytes, those included that are reserved already. Raises NoRoom if there is no room."""
        more = max(0, needed - self._reserved)  # a second decoder tries it where the first one failed
        self._account.take(more, self._own + self._reserved)
        self._reserved += more

    def keep(self, pixels: "np.ndarray") -> None:
        """Note what is left of the input once it has been read."""
        self._pixels.append(pixels)


class Turns:
    """The order of inputs that are read ahead by several threads: memory is given to them in this order.

    So the one that is needed next never waits for those after it.
    """

    def __init__(self, account: Account = ACCOUNT) -> None:
        """Start without inputs."""
        self.account = account
        self.waiting: dict[Turn, None] = {}  # those that have not got memory yet, in order
        self.closed = False

    def next(self) -> "Turn":
        """Return the turn of the next input."""
        turn = Turn(self)
        with self.account.changed:
            self.waiting[turn] = None
        return turn

    def close(self) -> None:
        """End all waits: nothing more is needed."""
        with self.account.changed:
            self.closed = True
            self.account.changed.notify_all()


class Turn(Attempt):
    """The turn of one input, which waits for room.

    Attributes:
        waits: It waits for memory now.
        urgent: Nothing else goes on until it has been read, so that no more memory will become free.
    """

    def __init__(self, turns: Turns) -> None:
        """Take the place behind those that there are; `Turns.next` does."""
        super().__init__(turns.account)
        self._turns = turns
        self.waits = self.urgent = False

    def end(self) -> None:
        """Give back what is reserved, and let others pass."""
        with self._account.changed:
            self._turns.waiting.pop(self, None)
            super().end()

    def reserve(self, needed: int) -> None:
        """Wait until there is room for so many bytes, and reserve them.

        Raises:
            InputError: It is not needed any more.
        """
        account = self._account
        with account.changed:
            self.waits = True
            while not (self._reserved or (self._is_next and (self.urgent or account.has_room(needed)))):
                raise_if_interrupted()
                if self._turns.closed:
                    raise InputError("is not needed any more")
                account.changed.wait(POLL_SECONDS)
            self.waits = False
            self._turns.waiting.pop(self, None)
            more = max(0, needed - self._reserved)
            self._reserved += more
            account.add(more)

    @property
    def _is_next(self) -> bool:
        return next(iter(self._turns.waiting), self) is self


def reserve(needed: int) -> None:
    """Check that what an input takes fits into the budget, and wait for room if this thread reads ahead.

    Raises:
        OverBudget: It does not fit.
        NoRoom: It does not now, and this thread may not wait.
    """
    check_fits(needed)
    if turn := getattr(_thread, "turn", None):
        turn.reserve(needed)


def kept(pixels: "np.ndarray") -> "np.ndarray":
    """Note that these pixels are what is left of an input, if this thread reads ahead; return them."""
    if turn := getattr(_thread, "turn", None):
        turn.keep(pixels)
    return pixels


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{max(1, size // 10**6)} MB"


@cache
def available() -> int:
    """Return the memory in bytes that this process may have: the machine's, its container's, or its own limit."""
    return min(_limits(), default=FALLBACK)


def _limits() -> Iterator[int]:
    with suppress(AttributeError, OSError, ValueError):  # Windows
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _cgroup_files():
        try:
            yield int(file.read_text())
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    if sys.platform != "win32":
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield limit


def _cgroup_files() -> Iterator[Path]:
    """Yield the files with the limits of this process's cgroups, version 2 and 1, and of those around them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            name, root = ("memory.max", CGROUPS) if not controllers else ("memory.limit_in_bytes", CGROUPS / "memory")
            own = root / path.strip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    yield folder / name
