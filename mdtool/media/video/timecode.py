"""Time codes: which one a source has, and why a container can't hold it."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from mdtool.media.video.frame_rate import frame_rate

# Muxers that keep a time code: as a track or tag of the video stream, or as a tag of the file.
STREAM_TIMECODE = ("matroska", "mov", "mp4", "mxf", "nut", "webm")
FILE_TIMECODE = ("asf", "avi", "flv")
COUNTED_TIMECODE = ("mov", "mp4", "mxf")  # of those, muxers that store it as a count of frames, not as text
MAX_COUNTED_RATE = 255  # frames per second that a time code track can state
FORM = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d([:;.])(\d{1,3})")  # SMPTE ST 12-1; ";" or "." for drop frame


def is_timecode(stream: Any) -> bool:
    """Return whether a data stream is a time code track, which FFmpeg describes by a tag."""
    return stream.type == "data" and "timecode" in stream.metadata


def timecode_in(tags: dict[str, str]) -> str | None:
    """Return the time code of a stream's or file's tags."""
    return next((value for key, value in tags.items() if key.lower() == "timecode"), None)


def timecode_of(streams: Sequence[Any], tags: dict[str, str]) -> str | None:
    """Return the time code of a source, given its streams and the tags of its container."""
    videos = [stream for stream in streams if stream.type == "video"]
    tracks = [stream for stream in streams if is_timecode(stream)]
    found = [timecode_in(described) for described in (*(s.metadata for s in (*videos, *tracks)), tags)]
    return next((timecode for timecode in found if timecode is not None), None)


def timecode_loss(timecode: str, muxer: str, video: Any) -> str:
    """Return why a container can't hold a time code; "" if it can.

    Args:
        timecode: The text of the tag.
        muxer: The output's container format, by FFmpeg's name.
        video: The source's video stream that it counts.
    """
    if muxer not in (*STREAM_TIMECODE, *FILE_TIMECODE):
        return f"{muxer} can't hold a time code"
    if muxer not in COUNTED_TIMECODE:
        return ""
    form = FORM.fullmatch(timecode.strip())
    if form is None:
        return f"{timecode!r} is none: it has not the form hh:mm:ss:ff"
    rate = frame_rate(video) or Fraction(0)
    frames = int(rate + Fraction(1, 2))
    if not 1 <= frames <= MAX_COUNTED_RATE:
        return f"{muxer} can't count {float(rate):.4g} frames/s"
    if int(form[3]) >= frames:
        return f"{timecode} has a frame {form[3]}, but a second has {frames}"
    if form[2] != ":" and frames % 30:
        return f"{timecode} drops frames, which {float(rate):.4g} frames/s don't"
    return ""
