"""What of a video is left out, and where it is silent: its events edited on their way from a reader to a writer.

Sound is decoded for it, since packets hold too many samples to be exact. What comes after a cut moves up: pictures,
sound and subtitles by the same time, each to the nearest tick of its own clock.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np

from mdtool.media.video.frame import Frame

GAP_SECONDS = 0.02  # by which a packet's time may differ from the count of samples before it


@dataclass(frozen=True)
class Spans:
    """Stretches of time, as `merge_spans` makes them: (start, end) in seconds, in order and apart. An end is not in."""

    parts: tuple[tuple[float, float], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parts)

    def holds(self, time: float) -> bool:
        """To the microsecond. A span without length holds the time at which it is."""
        time = round(time, 6)
        place = bisect_right(self.parts, time, key=lambda part: part[0]) - 1
        return place >= 0 and (time < self.parts[place][1] or time == self.parts[place][0])


def merge_spans(spans: Iterable[tuple[float, float]]) -> Spans:
    """Those that overlap or touch become one."""
    parts: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if parts and start <= parts[-1][1]:
            parts[-1] = parts[-1][0], max(parts[-1][1], end)
        else:
            parts.append((start, end))
    return Spans(tuple(parts))


@dataclass(frozen=True)
class Edit:
    """mute: where there is no sound; cut: what is left out."""

    mute: Spans = Spans()
    cut: Spans = Spans()

    def __bool__(self) -> bool:
        return bool(self.mute or self.cut)


UNEDITED = Edit()


@dataclass(frozen=True)
class AudioChunk:
    """Decoded sound of the stream with that index."""

    stream: int
    frame: av.AudioFrame


class FrameCutter:
    """The pictures of a video, moved up where some are cut.

    Times go on, also where a cut is not at a picture of a stream.
    """

    def __init__(self, cut: Spans) -> None:
        self._cut = cut
        self._ticks: dict[int, _Ticks] = {}  # of each stream
        self._last: dict[int, int] = {}

    def retime(self, frame: Frame) -> Frame | None:
        """At its new time; None: it is cut. Takes those of each stream in their order."""
        if not self._cut:
            return frame
        if self._cut.holds(frame.time):
            return None
        ticks = self._ticks.setdefault(frame.stream, _Ticks(self._cut, frame.time_base))
        start, end = ticks.without(frame.pts), ticks.without(frame.pts + frame.duration)
        if frame.stream in self._last:
            start = max(start, self._last[frame.stream] + 1)
        self._last[frame.stream] = start
        return replace(frame, pts=start, duration=end - start)


def apply_edit(
    events: Iterable[Frame | av.Packet], edit: Edit, notes: list[str]
) -> Iterator[Frame | av.Packet | AudioChunk]:
    """What comes beside the pictures without what is cut, at its new times, with sound in place of packets of sound.

    Frames stay as they are, for they are moved before. notes: gets a sentence about what could not be decoded.
    """
    sounds: dict[int, _AudioEditor] = {}
    for event in events:
        if isinstance(event, Frame):
            yield event
        elif event.stream.type == "audio":
            if event.stream_index not in sounds:
                sounds[event.stream_index] = _AudioEditor(edit, event.stream)
            yield from sounds[event.stream_index].decoded(event)
        elif _moved(event, edit.cut):
            yield event
    for sound in sounds.values():
        yield from sound.decoded(None)
    if lost := sum(sound.lost for sound in sounds.values()):
        notes.append(f"{lost} packets of sound could not be decoded, and are left out")


class _Ticks:
    """Spans in the ticks of a clock."""

    def __init__(self, spans: Spans, unit: Fraction) -> None:
        """unit: seconds a tick."""
        self._starts = [round(start / unit) for start, _ in spans.parts]
        self._ends = [round(end / unit) for _, end in spans.parts]
        self._before = [0]  # ticks in all spans before each
        for start, end in zip(self._starts, self._ends, strict=True):
            self._before.append(self._before[-1] + end - start)

    def without(self, tick: int) -> int:
        """Where a tick lies once the spans are taken out; one within a span lies where that was."""
        place = bisect_right(self._starts, tick) - 1
        if place < 0:
            return tick
        return tick - self._before[place] - (min(tick, self._ends[place]) - self._starts[place])

    def overlaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of spans that lie from start to end."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        return [(max(start, self._starts[i]), min(end, self._ends[i])) for i in range(first, last)]


class _AudioEditor:
    """The sound of one stream, decoded and edited."""

    def __init__(self, edit: Edit, stream: av.AudioStream) -> None:
        self.lost = 0
        self._edit = edit
        self._stream = stream
        self._rate = 0
        self._next = 0  # number of the next sample, counted from time 0

    def decoded(self, packet: av.Packet | None) -> Iterator[AudioChunk]:
        """None: what is still in the decoder."""
        if self._stream.codec_context is None:
            return
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.error.EOFError:
            return
        except av.FFmpegError:
            self.lost += 1
            return
        for frame in frames:
            for part in self._edited(frame):
                yield AudioChunk(self._stream.index, part)

    def _edited(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        first = self._place(frame)
        samples, step = frame.to_ndarray(), 1 if frame.format.is_planar else frame.layout.nb_channels
        for start, end in self._mute.overlaps(first, self._next):
            samples[:, (start - first) * step : (end - first) * step] = 128 if samples.dtype == np.uint8 else 0
        kept = first
        for start, end in [*self._cut.overlaps(first, self._next), (self._next, self._next)]:
            if start > kept:
                part = np.ascontiguousarray(samples[:, (kept - first) * step : (start - first) * step])
                made = av.AudioFrame.from_ndarray(part, frame.format.name, frame.layout)  # type: ignore[arg-type]
                made.sample_rate, made.time_base = self._rate, Fraction(1, self._rate)
                made.pts = self._cut.without(kept)
                yield made
            kept = end

    def _place(self, frame: av.AudioFrame) -> int:
        """Number of its first sample. They are counted, since containers may have coarser times."""
        if not self._rate:
            self._rate = frame.sample_rate
            unit = Fraction(1, self._rate)
            self._mute, self._cut = _Ticks(self._edit.mute, unit), _Ticks(self._edit.cut, unit)
            self._next = self._stated(frame) or 0
        first, stated = self._next, self._stated(frame)
        if stated is not None and stated - first > GAP_SECONDS * self._rate:
            first = stated
        self._next = first + frame.samples
        return first

    def _stated(self, frame: av.AudioFrame) -> int | None:
        if frame.pts is None or frame.time_base is None:
            return None
        return round(frame.pts * frame.time_base * self._rate)


def _moved(packet: av.Packet, cut: Spans) -> bool:
    """Moves a packet of subtitles or data up in place. False: it is left out.

    Without a duration a subtitle may be what ends another, so it stays.
    """
    if packet.pts is None or not cut:
        return True
    ticks = _Ticks(cut, packet.time_base)
    start, end = ticks.without(packet.pts), ticks.without(packet.pts + (packet.duration or 0))
    inside = start == end and cut.holds(float(packet.pts * packet.time_base))
    if inside and (packet.duration or packet.stream.type != "subtitle"):
        return False
    packet.pts, packet.duration = start, end - start
    if packet.dts is not None:
        packet.dts = ticks.without(packet.dts)
    return True
