"""Which packets of a video stream gave no frame, although they should: a decoder may skip them without an error."""

from itertools import groupby
from typing import NamedTuple

MAX_SKIPPED = 16  # packets in a row; the most pictures that codecs reorder, and so skip after a cut
MAX_HIDDEN = 2  # packets in a row that may hold second fields, or pictures that are never shown
ALL_SHOWN = ("av1", "hevc")  # codecs whose packets hold one shown picture each
MIN_BYTES = 16  # of a packet with a picture; a smaller one repeats the picture before, or is hidden


class _Sent(NamedTuple):
    """A packet that the decoder was given: its number, and whether it is shown before the keyframe that precedes it."""

    number: int
    is_keyframe: bool
    is_leading: bool


class LostPackets:
    """Matches the frames of a decoder with the packets of a stream by their time stamps.

    It is usual that pictures before the first keyframe can't be decoded, where a recording was cut; that those which
    are shown before a keyframe, but sent after it, refer to pictures that were cut off; and that a packet holds a
    hidden picture, or the second field of one. Else a packet without a frame is a loss.
    """

    def __init__(self, codec: str) -> None:
        self._hidden = 0 if codec in ALL_SHOWN else MAX_HIDDEN
        self._waiting: dict[int, _Sent] = {}  # by time stamp
        self._small: set[int] = set()  # time stamps of packets that need not give a frame
        self._packets = 0
        self._unmatched = 0  # frames, each of which may be that of any packet
        self._first: int | None = None  # number of the first packet that gave a frame
        self._keyframe: int | None = None  # time stamp of the last keyframe

    def sent(self, pts: int | None, size: int, *, is_keyframe: bool) -> None:
        """Note a packet that the decoder was given."""
        if pts is not None and is_keyframe:
            self._keyframe = pts
        if pts is not None and size >= MIN_BYTES:
            is_leading = self._keyframe is not None and pts < self._keyframe
            self._waiting[pts] = _Sent(self._packets, is_keyframe, is_leading)
            self._packets += 1
        elif pts is not None:
            self._small.add(pts)

    def received(self, pts: int | None) -> None:
        """Note a frame that the decoder returned."""
        if pts is not None and pts in self._waiting:
            number = self._waiting.pop(pts).number
            self._first = number if self._first is None else min(number, self._first)
        elif pts not in self._small:
            self._unmatched += 1

    @property
    def count(self) -> int:
        """The number of packets that were lost, once the decoder is flushed."""
        total = 0
        numbered = enumerate(sorted(self._waiting.values(), key=lambda packet: packet.number))
        for _, group in groupby(numbered, key=lambda item: item[1].number - item[0]):
            row = [packet for _, packet in group]
            at_start = self._first is None or row[0].number < self._first
            keyframe = next((place for place, packet in enumerate(row) if packet.is_keyframe), len(row))
            shown = sum(not packet.is_leading for packet in row)
            is_long = (len(row) > MAX_SKIPPED or shown > self._hidden) and not at_start
            total += len(row) if is_long else len(row) - keyframe
        return max(0, total - self._unmatched)
