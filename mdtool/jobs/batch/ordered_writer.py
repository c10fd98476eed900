"""Puts the results of a batch in the order of its items (a reorder buffer)."""

from collections import defaultdict
from collections.abc import Callable

Write = Callable[[], object]


class OrderedWriter:
    """Calls writes in the order of items, and within an item in the order of places, from 0 up to its last."""

    def __init__(self) -> None:
        self._waiting: defaultdict[int, dict[int, tuple[Write | None, bool]]] = defaultdict(dict)
        self._next = (0, 0)  # item and place

    def put(self, number: int, place: int, write: Write | None, is_last: bool) -> None:
        """Call a write once all before it were called.

        Args:
            number: Index of the item.
            place: Index within the item.
            write: None: there is nothing to write at this place.
            is_last: No place of this item follows.
        """
        self._waiting[number][place] = write, is_last
        while True:
            number, place = self._next
            if place not in self._waiting[number]:
                return
            next_write, was_last = self._waiting[number].pop(place)
            if was_last:
                del self._waiting[number]
            self._next = (number + 1, 0) if was_last else (number, place + 1)
            if next_write:
                next_write()
