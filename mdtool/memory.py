"""The budget of memory: what the decoded frames and pictures of one input may take together.

A small file can stand for gigabytes of pixels. What it would take is estimated before it is decoded, so that it fails
alone, with one line, instead of ending the run or making the machine swap.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from mdtool.errors import InputError

if sys.platform != "win32":
    import resource

SHARE = 4  # the default budget is the memory of the machine or the container, divided by this
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
FALLBACK = 4 * 10**9  # bytes, where the system does not tell how much memory it has
CGROUPS = Path("/sys/fs/cgroup")

_chosen: list[int] = []  # the budget in bytes that was asked for, if any


def choose_budget(size: int | None) -> None:
    """Set the budget in bytes; None for the default."""
    _chosen[:] = [] if size is None else [size]


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


def check_fits(needed: int) -> None:
    """Check that what an input takes in memory fits into the budget.

    Args:
        needed: Bytes, as estimated.

    Raises:
        InputError: It does not.
    """
    if needed > budget():
        raise InputError(
            f"would take about {_gigabytes(needed)} of memory, and the budget is {_gigabytes(budget())}; "
            "scale it down, or give more with --memory"
        )


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
