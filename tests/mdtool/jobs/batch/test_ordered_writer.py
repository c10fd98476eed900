"""What comes of items in any order is written in theirs, each as soon as it can be."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from mdtool.jobs.batch.ordered_writer import OrderedWriter


@given(st.lists(st.integers(1, 4), max_size=5).flatmap(
    lambda sizes: st.permutations([(n, p, p == size - 1) for n, size in enumerate(sizes) for p in range(size)])
))  # fmt: skip
def test_in_the_order_of_items_and_places(parts: list[tuple[int, int, bool]]) -> None:
    written: list[tuple[int, int]] = []
    turn, put = OrderedWriter(), set()
    for number, place, is_last in parts:
        turn.put(number, place, partial(written.append, (number, place)), is_last)
        put.add((number, place))
        missing = sorted({(n, p) for n, p, _ in parts} - put)
        assert written == sorted(one for one in put if not missing or one < missing[0])


def test_a_place_with_nothing_to_write_is_passed_over() -> None:
    written: list[str] = []
    turn = OrderedWriter()
    turn.put(0, 1, partial(written.append, "end"), True)
    turn.put(0, 0, None, False)
    turn.put(1, 0, None, True)
    assert written == ["end"]
