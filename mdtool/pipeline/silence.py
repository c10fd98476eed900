"""Mute spans of a live source by dropping audio packets."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, TypeAlias

import av

Packet: TypeAlias = "av.Packet[Any]"  # PyAV's class is generic for type checkers only


class Silencer:
    """Holds audio packets back until it is known whether the time that they cover is muted.

    A packet also affects its neighbours' time, since codecs overlap successive packets. Muted packets are dropped.
    """

    def __init__(self) -> None:
        self._pending: deque[Packet] = deque()
        self._silent: deque[tuple[float, float]] = deque()  # (start, end) in seconds

    def known(self, time: float, silent: bool) -> Iterator[Packet]:
        """Report the state from one frame on; that of the time before is then final.

        Args:
            time: Time of the frame in seconds.
            silent: Whether to mute from this frame to the next.

        Yields:
            The packets before that time that are not muted.
        """
        if self._silent and self._silent[-1][1] == float("inf"):
            self._silent[-1] = self._silent[-1][0], time
        if silent:
            self._silent.append((time, float("inf")))
        yield from self._due(time)

    def push(self, packet: Packet) -> None:
        """Add the next audio packet."""
        self._pending.append(packet)

    def _due(self, known: float) -> Iterator[Packet]:
        while self._pending and self._end(self._pending[0]) <= known:
            packet = self._pending.popleft()
            start, end = self._start(packet), self._end(packet)
            while self._silent and self._silent[0][1] <= start:
                self._silent.popleft()
            if not any(begin < end and start < stop for begin, stop in self._silent):
                yield packet

    @staticmethod
    def _start(packet: Packet) -> float:
        return float(((packet.pts or 0) - (packet.duration or 0)) * (packet.time_base or Fraction(1)))

    @staticmethod
    def _end(packet: Packet) -> float:
        return float(((packet.pts or 0) + 2 * (packet.duration or 0)) * (packet.time_base or Fraction(1)))
