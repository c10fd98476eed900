"""Cutting and muting time spans of a video, as its events pass from a reader to a writer.

Audio is decoded for it, since packets hold too many samples to be exact. Frames, audio and subtitles after a cut move
forward by the same time, each rounded to its own time base.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np

from mdtool.media.video.frame import Frame, Packet

GAP_SECONDS = 0.02  # by which an audio timestamp may exceed the count of samples before it


@dataclass(frozen=True)
class Spans:
    """Disjoint time spans; see `merge_spans`.

    Attributes:
        parts: (start, end) in seconds, sorted; the end is exclusive.
    """

    parts: tuple[tuple[float, float], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parts)

    def contains(self, time: float) -> bool:
        """Return whether a time in seconds lies in a span, to the microsecond. An empty span contains its start."""
        time = round(time, 6)
        index = bisect_right(self.parts, time, key=lambda part: part[0]) - 1
        return index >= 0 and (time < self.parts[index][1] or time == self.parts[index][0])


def merge_spans(spans: Iterable[tuple[float, float]]) -> Spans:
    """Return the union of (start, end) in seconds; spans that overlap or touch become one."""
    parts: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if parts and start <= parts[-1][1]:
            parts[-1] = parts[-1][0], max(parts[-1][1], end)
        else:
            parts.append((start, end))
    return Spans(tuple(parts))


@dataclass(frozen=True)
class Edit:
    """The edit of a video.

    Attributes:
        mute: Where audio is silenced.
        cut: What is left out.
    """

    mute: Spans = Spans()
    cut: Spans = Spans()

    def __bool__(self) -> bool:
        return bool(self.mute or self.cut)


UNEDITED = Edit()


@dataclass(frozen=True)
class AudioChunk:
    """Decoded audio.

    Attributes:
        stream: Index of its stream.
        frame: The samples.
    """

    stream: int
    frame: av.AudioFrame


class FrameCutter:
    """Drops the frames in cuts and retimes those after them, with increasing timestamps in each stream."""

    def __init__(self, cut: Spans) -> None:
        self._cut = cut
        self._timelines: dict[int, _Timeline] = {}  # by stream
        self._last: dict[int, int] = {}

    def retime(self, frame: Frame) -> Frame | None:
        """Return the frame with its new timestamp; None if it is cut. Call it in order of the frames of each stream."""
        if not self._cut:
            return frame
        if self._cut.contains(frame.time):
            return None
        timeline = self._timelines.setdefault(frame.stream, _Timeline(self._cut, frame.time_base))
        start, end = timeline.to_output(frame.pts), timeline.to_output(frame.pts + frame.duration)
        if frame.stream in self._last:
            start = max(start, self._last[frame.stream] + 1)
        self._last[frame.stream] = start
        return replace(frame, pts=start, duration=end - start)


def apply_edit(events: Iterable[Frame | Packet], edit: Edit, notes: list[str]) -> Iterator[Frame | Packet | AudioChunk]:
    """Cut and mute audio, and cut and retime the packets of other streams.

    Args:
        events: Frames, which `FrameCutter` has retimed and which pass unchanged, and packets.
        edit: The edit.
        notes: A sentence is appended if audio could not be decoded.

    Yields:
        Frames; decoded audio in place of audio packets; packets of other streams.
    """
    editors: dict[int, _AudioEditor] = {}
    for event in events:
        if isinstance(event, Frame):
            yield event
        elif event.stream.type == "audio":
            if event.stream_index not in editors:
                editors[event.stream_index] = _AudioEditor(edit, event.stream)
            yield from editors[event.stream_index].decode(event)
        elif _retime(event, edit.cut):
            yield event
    for editor in editors.values():
        yield from editor.decode(None)
    if lost := sum(editor.lost for editor in editors.values()):
        notes.append(f"{lost} audio packets could not be decoded and were left out")


class _Timeline:
    """Spans in ticks of a time base."""

    def __init__(self, spans: Spans, time_base: Fraction) -> None:
        self._starts = [round(start / time_base) for start, _ in spans.parts]
        self._ends = [round(end / time_base) for _, end in spans.parts]
        self._removed = [0]  # total length of the spans before each
        for start, end in zip(self._starts, self._ends, strict=True):
            self._removed.append(self._removed[-1] + end - start)

    def to_output(self, tick: int) -> int:
        """Map a tick to the timeline without the spans; ticks within a span map to its start."""
        index = bisect_right(self._starts, tick) - 1
        if index < 0:
            return tick
        return tick - self._removed[index] - (min(tick, self._ends[index]) - self._starts[index])

    def overlaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the intersections of the spans with [start, end)."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        return [(max(start, self._starts[i]), min(end, self._ends[i])) for i in range(first, last)]


class _AudioEditor:
    """Decodes and edits one audio stream. Samples are numbered from time 0."""

    def __init__(self, edit: Edit, stream: av.AudioStream) -> None:
        self.lost = 0  # packets that could not be decoded
        self._edit = edit
        self._stream = stream
        self._rate = 0
        self._next = 0  # number of the next sample

    def decode(self, packet: Packet | None) -> Iterator[AudioChunk]:
        """Yield the edited audio of a packet, or with None flush the decoder."""
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
        first = self._first_sample(frame)
        samples, step = frame.to_ndarray(), 1 if frame.format.is_planar else frame.layout.nb_channels
        for start, end in self._mute.overlaps(first, self._next):
            samples[:, (start - first) * step : (end - first) * step] = 128 if samples.dtype == np.uint8 else 0
        begin = first  # of the next part that is not cut
        for start, end in [*self._cut.overlaps(first, self._next), (self._next, self._next)]:
            if start > begin:
                part = np.ascontiguousarray(samples[:, (begin - first) * step : (start - first) * step])
                edited = av.AudioFrame.from_ndarray(part, frame.format.name, frame.layout)  # type: ignore[arg-type]
                edited.sample_rate, edited.time_base = self._rate, Fraction(1, self._rate)
                edited.pts = self._cut.to_output(begin)
                yield edited
            begin = end

    def _first_sample(self, frame: av.AudioFrame) -> int:
        """Return the number of its first sample. Samples are counted, since containers may have a coarse time base."""
        if not self._rate:
            self._rate = frame.sample_rate
            time_base = Fraction(1, self._rate)
            self._mute, self._cut = _Timeline(self._edit.mute, time_base), _Timeline(self._edit.cut, time_base)
            self._next = self._sample_of_pts(frame) or 0
        first, stated = self._next, self._sample_of_pts(frame)
        if stated is not None and stated - first > GAP_SECONDS * self._rate:
            first = stated
        self._next = first + frame.samples
        return first

    def _sample_of_pts(self, frame: av.AudioFrame) -> int | None:
        if frame.pts is None or frame.time_base is None:
            return None
        return round(frame.pts * frame.time_base * self._rate)


def _retime(packet: Packet, cut: Spans) -> bool:
    """Retime a subtitle or data packet in place; return False if it is cut.

    A subtitle without duration is never cut, as it may end another.
    """
    if packet.pts is None or not cut:
        return True
    timeline = _Timeline(cut, packet.time_base)
    start, end = timeline.to_output(packet.pts), timeline.to_output(packet.pts + (packet.duration or 0))
    is_inside = start == end and cut.contains(float(packet.pts * packet.time_base))
    if is_inside and (packet.duration or packet.stream.type != "subtitle"):
        return False
    packet.pts, packet.duration = start, end - start
    if packet.dts is not None:
        packet.dts = timeline.to_output(packet.dts)
    return True
