"""Stages that run side by side give the same as one after the other, and end together."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import pytest

from mdtool.pipeline.stages import Stopwatch, prefetch

THREADS = "stage"


class Source:
    """Counts up to `end`; knows how far it was asked and whether it was closed."""

    def __init__(self, end: int = 10**9, fail_at: int | None = None) -> None:
        self.made = 0
        self.closed = False
        self.thread: threading.Thread | None = None
        self._end = end
        self._fail_at = fail_at

    def items(self) -> Generator[int]:
        self.thread = threading.current_thread()
        try:
            while self.made < self._end:
                if self.made == self._fail_at:
                    raise ValueError("no more")
                self.made += 1
                yield self.made - 1
        finally:
            self.closed = True


def stages() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREADS]


def settled(count: Callable[[], int], least: int) -> int:
    """What `count` comes to, once it has reached `least` and had time to go beyond."""
    end = time.monotonic() + 10
    while count() < least and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.03)
    return count()


@pytest.mark.parametrize("depth", [1, 2, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_same_items_in_the_same_order(depth: int, count: int) -> None:
    assert list(prefetch(Source(count).items(), depth)) == list(range(count))
    assert stages() == []


def test_any_iterable_will_do() -> None:
    assert list(prefetch([3, 1, 2], 2)) == [3, 1, 2]
    assert list(prefetch(range(4), 2)) == [0, 1, 2, 3]


def test_none_and_false_are_items_like_any_other() -> None:
    assert list(prefetch([None, False, 0, None], 1)) == [None, False, 0, None]


def test_works_in_another_thread() -> None:
    source = Source(3)
    list(prefetch(source.items(), 1))
    assert source.thread not in (None, threading.current_thread())


@pytest.mark.parametrize("depth", [1, 4])
def test_works_ahead_but_not_far(depth: int) -> None:
    source = Source()
    with closing(prefetch(source.items(), depth)) as items:
        for taken in range(1, 6):
            next(items)
            assert settled(lambda: source.made, taken + depth) <= taken + depth + 1
            assert source.made > taken


def test_an_error_comes_in_its_place() -> None:
    taken = []
    with pytest.raises(ValueError, match="no more"):  # noqa: PT012
        for item in prefetch(Source(fail_at=5).items(), 2):
            taken.append(item)
    assert taken == [0, 1, 2, 3, 4]
    assert stages() == []


def test_an_interrupt_in_a_stage_comes_through() -> None:
    def interrupted() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    items = prefetch(interrupted(), 1)
    assert next(items) == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)


@pytest.mark.parametrize("taken", [1, 7])
def test_closed_early_it_stops_and_closes_its_source(taken: int) -> None:
    source = Source()
    items = prefetch(source.items(), 3)
    for _ in range(taken):
        next(items)
    items.close()
    made = source.made
    assert source.closed
    assert stages() == []
    assert source.made == made
    assert list(items) == []


def test_an_error_of_the_taker_ends_all_stages() -> None:
    source = Source()
    with pytest.raises(RuntimeError, match="mine"), closing(prefetch(source.items(), 2)) as items:  # noqa: PT012
        next(items)
        raise RuntimeError("mine")
    assert source.closed
    assert stages() == []


def doubled(items: Iterator[int]) -> Iterator[int]:
    for item in items:
        yield 2 * item


def test_stages_in_a_row() -> None:
    inner = prefetch(Source(100).items(), 2)
    outer = prefetch(doubled(prefetch(doubled(inner), 3)), 1)
    assert list(outer) == [4 * n for n in range(100)]
    assert stages() == []


def test_stages_in_a_row_are_closed_from_the_last_to_the_first() -> None:
    source = Source()
    first = prefetch(source.items(), 2)
    second = prefetch(doubled(first), 2)
    third = prefetch(doubled(second), 2)
    assert [next(third), next(third)] == [0, 4]
    for stage in third, second, first:
        stage.close()
    assert source.closed
    assert stages() == []


def test_an_error_passes_through_all_stages() -> None:
    items = prefetch(doubled(prefetch(Source(fail_at=20).items(), 2)), 2)
    taken = []
    with pytest.raises(ValueError, match="no more"):  # noqa: PT012
        for item in items:
            taken.append(item)
    assert taken == [2 * n for n in range(20)]
    assert stages() == []


def test_the_stopwatch_counts_work_and_no_waiting() -> None:
    clock = Stopwatch()

    def slow() -> Iterator[int]:
        for n in range(3):
            time.sleep(0.02)
            yield n

    begin = time.perf_counter()
    for _ in clock.each("work", slow()):
        time.sleep(0.05)
    assert 0.06 <= clock.seconds["work"] <= time.perf_counter() - begin - 0.15


def test_the_stopwatch_keeps_stages_apart_and_adds_up() -> None:
    clock = Stopwatch()
    for _ in range(2):
        with clock.time("a"):
            time.sleep(0.01)
    with pytest.raises(ValueError, match="x"), clock.time("b"):
        raise ValueError("x")
    assert clock.seconds["a"] >= 0.02
    assert set(clock.seconds) == {"a", "b"}


def test_the_stopwatch_hands_on_the_items() -> None:
    assert list(Stopwatch().each("work", [1, 2, 3])) == [1, 2, 3]
