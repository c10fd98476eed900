"""Encoding one video stream in segments; those that an earlier run has saved are read instead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from mdtool.media.video.encoded_segments import EncodedPacket, EncodedSegments, segment_index
from mdtool.media.video.frame import Packet, copied


class VideoEncoder:
    """Encodes frames into packets of one output stream, in decoding order."""

    def __init__(
        self,
        stream: Any,
        encoder: Any,
        create_encoder: Callable[[], Any],
        segments: EncodedSegments | None,
        *,
        number: int,
        start: Fraction,
    ) -> None:
        """Prepare the first segment.

        Args:
            stream: The output stream.
            encoder: The encoder that is used first.
            create_encoder: Returns another encoder with the same settings.
            segments: Where complete segments are saved and read; None to encode all as one segment.
            number: Index of the stream in `segments`.
            start: Timestamp of the first frame, in seconds.
        """
        self.stream = stream
        self.time_base: Fraction = stream.codec_context.time_base
        self._create_encoder = create_encoder
        self._encoder = encoder
        self._segments = segments
        self._number = number
        self._start = start
        self._segment = -1
        self._received = 0  # frames of the segment
        self._encoded: list[EncodedPacket] = []  # packets of the segment, to be saved
        self._saved: deque[EncodedPacket] | None = None  # packets of a saved segment that are still to be returned
        self._durations: dict[int, int] = {}
        self._last_dts: int | None = None

    def encode(self, frame: av.VideoFrame, duration: int) -> Iterator[Packet]:
        """Encode a frame.

        Args:
            frame: The frame, with a timestamp; its pixels are not read if its segment is saved.
            duration: In the frame's time base.

        Yields:
            The packets that are complete.
        """
        assert frame.pts is not None
        assert frame.time_base is not None
        segment = segment_index(frame.pts * frame.time_base - self._start) if self._segments else 0
        if segment != self._segment:
            yield from self.end_segment()
            self._begin_segment(segment)
        if frame.time_base == self.time_base:
            self._durations[frame.pts] = duration
        self._received += 1
        if self._saved is not None:
            yield from self._next_saved(self._received)
        else:
            yield from self._record(self._encoder.encode(frame), self._received)

    def flush(self) -> Iterator[Packet]:
        """Yield the remaining packets."""
        if self._saved is not None:
            yield from self._next_saved(self._received + 1)
        elif self._segment >= 0:
            yield from self._record(self._encoder.encode(None), self._received + 1)

    def _begin_segment(self, segment: int) -> None:
        if self._segments and self._segments.has(self._number, segment):
            self._saved = deque(self._segments.read(self._number, segment))
        else:
            if self._segment >= 0:
                self._encoder = self._create_encoder()
            self._saved = None
        self._segment, self._received, self._encoded = segment, 0, []

    def end_segment(self) -> Iterator[Packet]:
        """Yield the remaining packets, and save the segment as a complete one."""
        if self._segment < 0:
            return
        yield from self.flush()
        if self._segments and self._saved is None:
            self._segments.save(self._number, self._segment, self._encoded)

    def _record(self, packets: Iterable[Packet], after: int) -> Iterator[Packet]:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, 0) or packet.duration
            if self._segments:
                self._encoded.append(EncodedPacket(copied(packet), after))
            yield self._for_stream(packet)

    def _next_saved(self, after: int) -> Iterator[Packet]:
        assert self._saved is not None
        while self._saved and self._saved[0].after <= after:
            packet = self._saved.popleft().packet
            packet.time_base = self.time_base
            yield self._for_stream(packet)

    def _for_stream(self, packet: Packet) -> Packet:
        """Assign the packet to the stream, with a dts after the last: a new encoder starts with an earlier dts."""
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts <= self._last_dts:
                packet.dts = self._last_dts + 1
            self._last_dts = packet.dts
        packet.stream = self.stream
        return packet
