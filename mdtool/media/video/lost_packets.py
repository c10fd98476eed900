"""Which packets of a video stream gave no frame, although they should: a decoder may skip them without an error."""

from itertools import groupby

MAX_SKIPPED = 16  # packets in a row; the most pictures that codecs reorder, and so skip after a cut
MIN_BYTES = 16  # of a packet with a picture; a smaller one repeats the picture before, or is hidden


class LostPackets:
    """Matches the frames of a decoder with the packets of a stream by their time stamps.

    It is usual that pictures before the first keyframe can't be decoded, where a recording was cut; that a few after a
    keyframe refer to pictures before it; that a packet holds a hidden picture, or the second field of one. None of
    these is a loss: that is a keyframe without a frame, with those after it, or a longer row.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, bool]] = {}  # time stamp -> number of the packet, whether it is a keyframe
        self._packets = 0
        self._frames = 0
        self._first: int | None = None  # number of the first packet that gave a frame

    def sent(self, pts: int | None, size: int, *, is_keyframe: bool) -> None:
        """Note a packet that the decoder was given."""
        if pts is not None and size >= MIN_BYTES:
            self._waiting[pts] = (self._packets, is_keyframe)
            self._packets += 1

    def received(self, pts: int | None) -> None:
        """Note a frame that the decoder returned."""
        self._frames += 1
        if pts is not None and pts in self._waiting:
            number, _ = self._waiting.pop(pts)
            self._first = number if self._first is None else min(number, self._first)

    @property
    def count(self) -> int:
        """The number of packets that were lost, once the decoder is flushed."""
        total = 0
        numbered = enumerate(sorted(self._waiting.values()))
        for _, group in groupby(numbered, key=lambda item: item[1][0] - item[0]):
            row = [packet for _, packet in group]
            at_start = self._first is None or row[0][0] < self._first
            keyframe = next((place for place, (_, is_keyframe) in enumerate(row) if is_keyframe), len(row))
            is_long = len(row) > MAX_SKIPPED and not at_start
            total += len(row) if is_long else len(row) - keyframe
        return min(total, max(0, self._packets - self._frames))
