"""The clock of a source: packet times count from the start of the file, and go on where the source's clock jumps.

A container may start at any time, as broadcasts do, and the clock of a recording jumps where parts of it were joined.
All streams shift together at such a splice, so that picture and sound stay synchronous.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition

from mdtool.media.video.frame import Packet

# Seconds. A jump ahead is a gap, which is kept, up to this length; longer ones, in containers whose clock may be reset,
# are splices. It is FFmpeg's own threshold (dts_delta_threshold).
MAX_GAP = 10
PRIMING = Fraction(1, 5)  # a clock that starts so little before 0 only primes an audio decoder
PATIENCE = 1  # seconds by which another stream goes on undisturbed before a jump is taken for this stream's alone
SMALL_JUMP = Fraction(1, 2)  # seconds; a stream that jumps back so little, and alone, is not shifted for it
MAX_HELD = 4096  # packets


def start_of(container: InputContainer) -> Fraction:
    """Return the time, in seconds on the container's clock, that a player shows as 0.

    It is a whole number of ticks of each stream. An MP4 starts at 0, unless it is a fragment of a longer one: that its
    first sample comes later is the delay of an edit list.
    """
    if container.start_time is None:
        return Fraction(0)
    start = Fraction(container.start_time, av.time_base)
    if -PRIMING <= start <= 0 or ("mov" in container.format.name and any(s.frames for s in container.streams)):
        return Fraction(0)
    streams = [s for s in _timed(container) if s.start_time is not None and s.time_base]
    exact = [s.start_time * s.time_base for s in streams]
    nearest = min(exact, key=lambda time: abs(time - start), default=start)
    start = nearest if abs(nearest - start) < Fraction(1, 1000) else start
    coarsest = max((s.time_base for s in streams), default=Fraction(1, 1000))
    return start // coarsest * coarsest


def may_be_reset(container: InputContainer) -> bool:
    """Return whether the clock of this format may jump, as that of MPEG-TS."""
    return Flags.ts_discont in Flags(container.format.flags)


def shifted_chapters(chapters: list[Any], seconds: Fraction) -> list[Any]:
    """Return chapters, as PyAV describes them, that start and end later."""
    if not seconds:
        return chapters
    ticks = [round(seconds / (chapter["time_base"] or Fraction(1, av.time_base))) for chapter in chapters]
    return [
        {**chapter, "start": chapter["start"] + late, "end": chapter["end"] + late}
        for chapter, late in zip(chapters, ticks, strict=True)
    ]


def _timed(container: InputContainer) -> list[Any]:
    """Return the video and audio streams, without cover art."""
    return [
        s for s in container.streams if s.type in ("video", "audio") and not s.disposition & Disposition.attached_pic
    ]


@dataclass
class _StreamClock:
    """Where a video or audio stream has got to; times in seconds, of the output unless it is said.

    Attributes:
        is_video: Whether it is a video stream.
        step: Usual distance of its packets.
        part: Number of the part of the source, between splices, that it is in.
        last: Decoding time of its last packet.
        end: End of its last packet to be shown.
        held: Its packets since a jump that is not judged yet.
    """

    is_video: bool
    step: Fraction
    part: int = 0
    last: Fraction | None = None
    end: Fraction = Fraction(0)
    held: list[Packet] = field(default_factory=list)


class SourceClock:
    """Corrects the times of packets, in place; of one pass through a container.

    Attributes:
        splices: Number of jumps of the clock so far after which all streams were shifted.
    """

    def __init__(self, container: InputContainer) -> None:
        self.splices = 0
        self._max_gap = Fraction(MAX_GAP) if may_be_reset(container) else None
        self._shifts = [-start_of(container)]  # seconds to add to the source's times, by part
        self._own: dict[tuple[int, int], Fraction] = {}  # shift of a stream that jumped alone, by stream and part
        self._streams: dict[int, _StreamClock] = {}
        for stream in _timed(container):
            rate = stream.average_rate or stream.guessed_rate or 30 if stream.type == "video" else 40
            self._streams[stream.index] = _StreamClock(stream.type == "video", 1 / Fraction(rate))
        self._now = Fraction(0)  # the latest time of any stream
        self._held = 0

    def correct(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Yield the packets with corrected times. Those after a jump wait until it is known how the others go on."""
        for packet in packets:
            stream = self._streams.get(packet.stream_index)
            if stream is None:
                yield self._nearest(packet)
            elif stream.held or self._jumps(stream, packet):
                stream.held.append(packet)
                self._held += 1
                yield from self._judged(self._held >= MAX_HELD)
            else:
                yield self._passed(stream, packet)
                if self._held:
                    yield from self._judged(False)
        while self._held:
            yield from self._judged(True)

    def _shift(self, stream_index: int, part: int) -> Fraction:
        return self._own.get((stream_index, part), self._shifts[part])

    def _time(self, packet: Packet, part: int) -> Fraction | None:
        """Return the decoding time of a packet in the output, if it belongs to a part of the source."""
        ticks = packet.dts if packet.dts is not None else packet.pts
        return None if ticks is None else ticks * packet.time_base + self._shift(packet.stream_index, part)

    def _leap(self, stream: _StreamClock, packet: Packet) -> Fraction:
        """Return by how many seconds the clock jumps before a packet; 0 if it goes on."""
        time = self._time(packet, stream.part)
        if time is None or stream.last is None:
            return Fraction(0)
        leap = time - stream.last - stream.step
        is_back = leap <= -2 * stream.step
        is_ahead = self._max_gap is not None and leap > self._max_gap
        return leap if is_back or is_ahead else Fraction(0)

    def _jumps(self, stream: _StreamClock, packet: Packet) -> bool:
        """Return whether the clock jumps before a packet, other than at a splice that is known from other streams."""
        if not self._leap(stream, packet):
            return False
        distances = {part: self._distance(stream, packet, part) for part in range(stream.part + 1, len(self._shifts))}
        nearest = min(distances, key=lambda part: distances[part], default=None)
        if nearest is None or distances[nearest] > MAX_GAP / 2:
            return True
        stream.part = nearest
        return False

    def _distance(self, stream: _StreamClock, packet: Packet, part: int) -> float:
        """Return how far a packet is from the one before it, in seconds, if it belongs to a part of the source."""
        return abs(float((self._time(packet, part) or 0) - (stream.last or 0)))

    def _judged(self, at_end: bool) -> Iterator[Packet]:
        """Yield the packets that are held, if it is known by now what their jump was."""
        waiting = {index: stream for index, stream in self._streams.items() if stream.held}
        going_on = [s for s in self._streams.values() if not s.held and s.last is not None and self._is_active(s)]
        for index, stream in waiting.items():
            others = [s for s in going_on if s.part == stream.part]
            if any(s.last and s.last > (stream.last or 0) + PATIENCE for s in others):
                leap = self._leap(stream, stream.held[0])
                if stream.is_video and leap < -SMALL_JUMP:
                    self._own[index, stream.part] = self._shift(index, stream.part) - leap
                yield from self._released(stream)
                return
        if not at_end and any(s.part == w.part for s in going_on for w in waiting.values()):
            return
        if waiting:
            self._splice([*waiting.values()])
            for stream in waiting.values():
                yield from self._released(stream)

    def _is_active(self, stream: _StreamClock) -> bool:
        """Return whether a stream has not ended, or paused, before the jump."""
        return stream.last is not None and stream.last + 2 * PATIENCE > self._now

    def _splice(self, waiting: list[_StreamClock]) -> None:
        """Begin another part of the source, into which the first video stream goes on with its usual step."""
        stream = next((s for s in waiting if s.is_video), waiting[0])
        packet = stream.held[0]
        before, shift = self._shift(packet.stream_index, stream.part), -self._leap(stream, packet)
        shown = [p.pts * p.time_base for p in stream.held if p.pts is not None]
        if shown:  # after all that was shown before, although fewer frames may be reordered now
            shift = max(shift, stream.end - min(shown) - before)
        self._shifts.append(before + shift)
        self.splices += 1
        stream.part = len(self._shifts) - 1
        for other in waiting:
            if other is not stream:
                self._jumps(other, other.held[0])

    def _released(self, stream: _StreamClock) -> Iterator[Packet]:
        """Yield the packets that are held, up to the next jump."""
        held, stream.held = stream.held, []
        for number, packet in enumerate(held):
            if number and self._jumps(stream, packet):
                stream.held = held[number:]
                break
            self._held -= 1
            yield self._passed(stream, packet)

    def _passed(self, stream: _StreamClock, packet: Packet) -> Packet:
        """Correct a packet of a video or audio stream, and note where the stream has got to."""
        time = self._time(packet, stream.part)
        shift = self._shift(packet.stream_index, stream.part)
        if time is not None:
            if packet.duration:
                stream.step = packet.duration * packet.time_base
            stream.last = max(time, stream.last) if stream.last is not None else time
            self._now = max(self._now, time)
        if packet.pts is not None:
            stream.end = max(stream.end, packet.pts * packet.time_base + shift + stream.step)
        return _shifted(packet, shift)

    def _nearest(self, packet: Packet) -> Packet:
        """Correct a subtitle or data packet, which may come seldom: it belongs to the part in which it is due now."""
        times = [self._time(packet, part) for part in range(len(self._shifts))]
        distances = [abs(time - self._now) if time is not None else Fraction(0) for time in times]
        return _shifted(packet, self._shifts[distances.index(min(distances))])


def _shifted(packet: Packet, seconds: Fraction) -> Packet:
    if seconds and packet.time_base:
        ticks = round(seconds / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
    return packet
