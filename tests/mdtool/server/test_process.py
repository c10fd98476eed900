"""What the process of a server asks of its memory."""

import gc
import os
import platform
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdtool.server.process import return_freed_memory, settle_heap


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
