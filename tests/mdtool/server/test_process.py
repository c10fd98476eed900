"""What the process of a server asks of its threads and its memory."""

import gc
import os
import platform
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdtool.server.process import SPINS, return_freed_memory, settle_heap, shorten_spinning


@pytest.fixture(autouse=True)
def heap() -> Iterator[None]:
    yield
    gc.unfreeze()


class Node:
    """Part of a cycle, which only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_what_lives_is_not_walked_through_again() -> None:
    node = Node()
    settle_heap()
    assert not any(each is node for each in gc.get_objects())


def test_what_was_settled_and_dropped_is_freed_with_the_next_settling() -> None:
    node = Node()
    settle_heap()
    dropped = weakref.ref(node)
    del node
    gc.collect()
    assert dropped()
    settle_heap()
    assert dropped() is None


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="of GNU's C library")
def test_free_memory_between_what_is_kept_is_returned() -> None:
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    blocks = [bytes(60_000) for _ in range(1000)]  # too small for mappings of their own
    kept = blocks[::2]
    del blocks
    before = resident()
    return_freed_memory()
    assert before - resident() > 15_000_000
    assert len(kept) == 500


def test_threads_spin_shortly_unless_the_environment_says_how_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    shorten_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "5"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    shorten_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == SPINS
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    shorten_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ
