"""Frames spread evenly over a video, reached by seeking."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import av

from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader

MAX_DECODED = 300  # frames between a keyframe of the encoder and the frame that is taken
ROUNDING = 0.002  # seconds: containers count in milliseconds
UNKNOWN_STEP = 30  # frames from one to the next where the duration is unknown


def spread_frames(
    reader: VideoReader, stream: int, count: int, *, start: float | None = None, end: float | None = None
) -> Iterator[Frame]:
    """Yield frames of a video stream, one from each of `count` equal parts of its time.

    The last keyframe of the encoder in a part is taken, so that little is decoded; if a part has none, its middle.
    Where keyframes are very rare, or the duration is unknown, the frames are from the beginning.

    Args:
        reader: The video.
        stream: Index of the stream.
        count: Number of parts.
        start: Seconds before which no frame is taken.
        end: Seconds from which on no frame is taken.

    Yields:
        Frames in order, whose `index` is not that in the stream; fewer than `count` for a very short video.
    """
    length = _length(reader, stream)
    if length is None:
        frames = (event for event in reader if isinstance(event, Frame) and event.stream == stream)
        yield from _regular(frames, count, start, end)
        return
    first = next(reader.frames_from(stream, 0.0), None)
    if first is None:
        return
    begin, stop = max(first.time, start or first.time), first.time + length
    stop = stop if end is None else min(stop, end)
    last = begin - ROUNDING
    for number in range(count if begin < stop else 0):
        low, high = (begin + (stop - begin) * part / count for part in (number, number + 1))
        frame = _reached(reader.frames_from(stream, high - ROUNDING), low, (low + high) / 2, last=last)
        if frame is not None and frame.time < stop:
            yield frame
            last = frame.time


def _length(reader: VideoReader, stream: int) -> float | None:
    """Return the seconds from the first packet to the end of the last; None if the duration is unknown.

    The duration that a container states may count from 0, wherever the first frame is.
    """
    video: Any = reader.container.streams[stream]
    if reader.seconds is None:
        return None
    with suppress(av.FFmpegError):
        reader.container.seek(reader.container.start_time or 0)
        first = next((packet.pts for packet in reader.container.demux(video) if packet.pts is not None), None)
        reader.container.seek(round(reader.seconds / video.time_base) + (first or 0), stream=video)
        ends = [
            packet.pts + (packet.duration or 0) for packet in reader.container.demux(video) if packet.pts is not None
        ]
        if first is not None and ends and max(ends) > first:
            return float((max(ends) - first) * video.time_base)
    return reader.seconds


def _reached(frames: Iterable[Frame], low: float, middle: float, *, last: float) -> Frame | None:
    """Return the first frame if it is not before `low`, else that at `middle` or on the way there; after `last`."""
    decoded, found = 0, None
    for number, frame in enumerate(frames):
        if frame.time <= last:
            continue
        decoded, found = decoded + 1, frame
        if frame.time >= middle or (number == 0 and frame.time >= low) or decoded >= MAX_DECODED:
            break
    return found


def _regular(frames: Iterable[Frame], count: int, start: float | None, end: float | None) -> Iterator[Frame]:
    taken = 0
    for number, frame in enumerate(frames):
        if taken == count or (end is not None and frame.time >= end):
            return
        if number % UNKNOWN_STEP == 0 and frame.time >= (start or frame.time):
            taken += 1
            yield frame
