"""What keeps the process of a server from stopping its own requests."""

import gc
import os
import weakref
from collections.abc import Iterator

import pytest

from mdtool.server.latency import SPINS, settle_heap, shorten_spinning


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
