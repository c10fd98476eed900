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
from mdtool.media.video.frame_rate import frame_rate

# Seconds. A jump ahead is a gap, which is kept, up to this length; longer ones, in containers whose clock may be reset,
# are splices. It is FFmpeg's own threshold (dts_delta_threshold).
MAX_GAP = 10
PRIMING = Fraction(1, 5)  # a clock that starts so little before 0 only primes an audio decoder
PATIENCE = 1  # seconds by which another stream goes on undisturbed before a jump is taken for this stream's alone
MAX_SKEW = 1  # seconds by which streams are apart at one place of a file
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
    if -PRIMING <= start <= 0 or _has_index(container):
        return Fraction(0)
    streams = [s for s in _timed(container) if s.start_time is not None and s.time_base]
    exact = [s.start_time * s.time_base for s in streams]
    nearest = min(exact, key=lambda time: abs(time - start), default=start)
    start = nearest if abs(nearest - start) < Fraction(1, 1000) else start
    coarsest = max((s.time_base for s in streams), default=Fraction(1, 1000))
    return start // coarsest * coarsest


def _has_index(container: InputContainer) -> bool:
    """Return whether it is an MP4 with a table of all samples, whose edit lists order them."""
    return "mov" in container.format.name and any(stream.frames for stream in container.streams)


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
        held_since: The latest time of any stream at that jump.
    """

    is_video: bool
    step: Fraction
    part: int = 0
    last: Fraction | None = None
    end: Fraction = Fraction(0)
    held: list[Packet] = field(default_factory=list)
    held_since: Fraction = Fraction(0)


class SourceClock:
    """Corrects the times of packets, in place; of one pass through a container.

    Attributes:
        splices: Number of jumps of the clock so far after which all streams were shifted.
    """

    def __init__(self, container: InputContainer) -> None:
        self.splices = 0
        self._max_gap = Fraction(MAX_GAP) if may_be_reset(container) else None
        self._may_jump = not _has_index(container)
        self._shifts = [-start_of(container)]  # seconds to add to the source's times, by part
        self._own: dict[tuple[int, int], Fraction] = {}  # shift of a stream that jumped alone, by stream and part
        self._streams: dict[int, _StreamClock] = {}
        for stream in _timed(container):
            rate = frame_rate(stream) or 30 if stream.type == "video" else 40
            self._streams[stream.index] = _StreamClock(stream.type == "video", 1 / Fraction(rate))
        self._now = Fraction(0)  # the latest time of any stream
        self._held = 0

    def correct(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Yield the packets with corrected times. Those after a jump wait until it is known how the others go on."""
        for packet in packets:
            stream = self._streams.get(packet.stream_index)
            if stream is None:
                yield self._nearest(packet)
            elif not self._may_jump:
                yield self._passed(stream, packet)
            elif stream.held or self._jumps(stream, packet):
                self._hold(stream, packet)
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
        ticks = _decoding_ticks(packet)
        return None if ticks is None else ticks * packet.time_base + self._shift(packet.stream_index, part)

    def _apart(self, stream: _StreamClock, packet: Packet) -> Fraction:
        """Return by how many seconds a packet is later than the usual step; negative if it is earlier."""
        time = self._time(packet, stream.part)
        return Fraction(0) if time is None or stream.last is None else time - stream.last - stream.step

    def _is_leap(self, stream: _StreamClock, packet: Packet) -> bool:
        """Return whether a packet is earlier than the one before it, or later than any gap, unless others got there."""
        apart, time = self._apart(stream, packet), self._time(packet, stream.part) or Fraction(0)
        if stream.last is None and any(other.last is not None for other in self._streams.values()):
            apart = max(time - self._now, Fraction(0))  # it begins, after others
        is_ahead = self._max_gap is not None and apart > self._max_gap and time > self._now + MAX_SKEW
        return apart <= -2 * stream.step or is_ahead

    def _jumps(self, stream: _StreamClock, packet: Packet) -> bool:
        """Return whether the clock jumps before a packet, other than at a splice that is known from other streams."""
        leap = self._is_leap(stream, packet)
        is_behind = stream.part < len(self._shifts) - 1
        if not leap and not (is_behind and abs(self._apart(stream, packet)) > 2 * stream.step):
            return False
        parts = range(stream.part + leap, len(self._shifts))
        times = {part: self._time(packet, part) or Fraction(0) for part in parts}
        nearest = min(parts, key=lambda part: abs(times[part] - self._now), default=stream.part)
        if nearest == stream.part or abs(times[nearest] - self._now) > MAX_SKEW:
            return leap
        stream.part, stream.last = nearest, None
        return False

    def _judged(self, at_end: bool) -> Iterator[Packet]:
        """Yield the packets that are held, if it is known by now what their jump was."""
        waiting = {index: stream for index, stream in self._streams.items() if stream.held}
        going_on = [stream for stream in self._streams.values() if not stream.held and self._is_active(stream)]
        for index, stream in waiting.items():
            if any((other.last or 0) > stream.held_since + PATIENCE for other in going_on):  # it jumped alone
                apart = self._apart(stream, stream.held[0])
                if stream.is_video and apart < -SMALL_JUMP:
                    self._own[index, stream.part] = self._shift(index, stream.part) - apart
                yield from self._released(stream)
                return
        if waiting and (at_end or not going_on or any(map(_is_overdue, waiting.values()))):
            first = next((stream for stream in waiting.values() if stream.is_video), next(iter(waiting.values())))
            self._splice(first)
            yield from self._released(first)
            for stream in (other for other in waiting.values() if other is not first):
                if self._jumps(stream, stream.held[0]):
                    stream.held_since = self._now
                else:
                    yield from self._released(stream)

    def _is_active(self, stream: _StreamClock) -> bool:
        """Return whether a stream has not ended, or paused, before the jump."""
        return stream.last is not None and stream.last + MAX_SKEW > self._now

    def _splice(self, stream: _StreamClock) -> None:
        """Begin another part of the source, into which a stream goes on with its usual step."""
        packet = stream.held[0]
        shift = self._shift(packet.stream_index, stream.part) - self._apart(stream, packet)
        shown = [p.pts * p.time_base for p in stream.held if p.pts is not None]
        end = self._now if stream.last is None else stream.end
        self._shifts.append(end - min(shown) if shown else shift)
        self.splices += 1
        stream.part, stream.last = len(self._shifts) - 1, None

    def _hold(self, stream: _StreamClock, packet: Packet) -> None:
        if not stream.held:
            stream.held_since = self._now
        stream.held.append(packet)
        self._held += 1

    def _released(self, stream: _StreamClock) -> Iterator[Packet]:
        """Yield the packets that are held, up to the next jump."""
        held, stream.held = stream.held, []
        for number, packet in enumerate(held):
            if number and self._jumps(stream, packet):
                stream.held, stream.held_since = held[number:], self._now
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


def _decoding_ticks(packet: Packet) -> int | None:
    """Return a packet's decoding time; not even its order is known of a video packet that states none."""
    return packet.pts if packet.dts is None and packet.stream.type != "video" else packet.dts


def _is_overdue(stream: _StreamClock) -> bool:
    """Return whether a stream waits for others for so long that they seem to have ended."""
    times = [(_decoding_ticks(packet) or 0) * packet.time_base for packet in (stream.held[0], stream.held[-1])]
    return times[1] - times[0] > 2 * PATIENCE


def _shifted(packet: Packet, seconds: Fraction) -> Packet:
    if seconds and packet.time_base:
        ticks = round(seconds / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
    return packet
