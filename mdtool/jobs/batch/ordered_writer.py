"""Writes what comes of the items of a batch in their order, however it comes."""

from collections import defaultdict
from collections.abc import Callable

Write = Callable[[], object]


class OrderedWriter:
    """Of each item there are places, from 0 up to its last; what is put there is called in its turn."""

    def __init__(self) -> None:
        self._held: defaultdict[int, dict[int, tuple[Write | None, bool]]] = defaultdict(dict)
        self._due = (0, 0)  # item and place

    def put(self, number: int, place: int, write: Write | None, is_last: bool) -> None:
        """write None: there is nothing to write at this place."""
        self._held[number][place] = write, is_last
        while True:
            number, place = self._due
            if place not in self._held[number]:
                return
            due, was_last = self._held[number].pop(place)
            if was_last:
                del self._held[number]
            self._due = (number + 1, 0) if was_last else (number, place + 1)
            if due:
                due()
