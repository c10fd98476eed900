"""One video stream on its way into a file: encoded in stretches, or taken from those that are kept already."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from mdtool.media.video.encoded_segments import EncodedPacket, EncodedSegments, segment_index


class VideoEncoder:
    """Takes pictures in the form in which they are encoded, and gives packets for `stream`, in the order of decoding.

    encoder: makes one that is like the first, which is the stream's own. kept None: all is one stretch.
    """

    def __init__(
        self, stream: Any, encoder: Callable[[], Any], segments: EncodedSegments | None, *, number: int, start: Fraction
    ) -> None:
        """number: of the stream, for `segments`. start: seconds, of the first picture."""
        self.stream = stream
        self.time_base: Fraction = stream.codec_context.time_base
        self._encoder = encoder
        self._context = stream.codec_context
        self._segments = segments
        self._number = number
        self._start = start
        self._segment = -1
        self._taken = 0  # pictures of the stretch
        self._made: list[EncodedPacket] = []
        self._known: deque[EncodedPacket] | None = None
        self._durations: dict[int, int] = {}
        self._last_dts: int | None = None

    def take(self, picture: av.VideoFrame, duration: int) -> Iterator[av.Packet]:
        """The packets that come out for it. duration: in the picture's time base."""
        assert picture.pts is not None
        assert picture.time_base is not None
        segment = segment_index(picture.pts * picture.time_base - self._start) if self._segments else 0
        if segment != self._segment:
            yield from self._end_segment()
            self._begin(segment)
        if picture.time_base == self.time_base:
            self._durations[picture.pts] = duration
        self._taken += 1
        if self._known is not None:
            yield from self._due(self._taken)
        else:
            yield from self._told(self._context.encode(picture), self._taken)

    def end(self) -> Iterator[av.Packet]:
        """The packets that are left."""
        yield from self._flushed()

    def _begin(self, segment: int) -> None:
        if self._segments and self._segments.has(self._number, segment):
            self._known = deque(self._segments.read(self._number, segment))
        else:
            if self._segment >= 0:
                self._context = self._encoder()
            self._known = None
        self._segment, self._taken, self._made = segment, 0, []

    def _end_segment(self) -> Iterator[av.Packet]:
        if self._segment < 0:
            return
        yield from self._flushed()
        if self._segments and self._known is None:
            self._segments.save(self._number, self._segment, self._made)

    def _flushed(self) -> Iterator[av.Packet]:
        if self._known is not None:
            yield from self._due(self._taken + 1)
        elif self._segment >= 0:
            yield from self._told(self._context.encode(None), self._taken + 1)

    def _told(self, packets: Iterable[av.Packet], after: int) -> Iterator[av.Packet]:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, 0) or packet.duration
            if self._segments:
                self._made.append(EncodedPacket(packet, after))
            yield self._ready(packet)

    def _due(self, after: int) -> Iterator[av.Packet]:
        assert self._known is not None
        while self._known and self._known[0].after <= after:
            packet = self._known.popleft().packet
            packet.time_base = self.time_base
            yield self._ready(packet)

    def _ready(self, packet: av.Packet) -> av.Packet:
        """For this stream, and later than the one before: an encoder that begins anew begins a little early."""
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts <= self._last_dts:
                packet.dts = self._last_dts + 1
            self._last_dts = packet.dts
        packet.stream = self.stream
        return packet
