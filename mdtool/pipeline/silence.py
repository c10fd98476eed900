"""Takes the sound out of what plays live while there is to be none."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av


class Silencer:
    """Holds packets of sound until it is known of every moment that they touch whether there is to be silence.

    A packet touches the one before and the one after too, for codecs let them run into one another. What is silent is
    left out, so that players have nothing to play.
    """

    def __init__(self) -> None:
        self._waiting: deque[av.Packet] = deque()
        self._silent: deque[tuple[float, float]] = deque()  # from, to; seconds

    def known(self, time: float, silent: bool) -> Iterator[av.Packet]:
        """A frame was judged: since the one before it was as told then, and from `time` (seconds) it is `silent`.

        Gives what may be heard.
        """
        if self._silent and self._silent[-1][1] == float("inf"):
            self._silent[-1] = self._silent[-1][0], time
        if silent:
            self._silent.append((time, float("inf")))
        yield from self._due(time)

    def push(self, packet: av.Packet) -> None:
        self._waiting.append(packet)

    def _due(self, known: float) -> Iterator[av.Packet]:
        while self._waiting and self._end(self._waiting[0]) <= known:
            packet = self._waiting.popleft()
            start, end = self._start(packet), self._end(packet)
            while self._silent and self._silent[0][1] <= start:
                self._silent.popleft()
            if not any(begin < end and start < stop for begin, stop in self._silent):
                yield packet

    @staticmethod
    def _start(packet: av.Packet) -> float:
        return float(((packet.pts or 0) - (packet.duration or 0)) * (packet.time_base or Fraction(1)))

    @staticmethod
    def _end(packet: av.Packet) -> float:
        return float(((packet.pts or 0) + 2 * (packet.duration or 0)) * (packet.time_base or Fraction(1)))
