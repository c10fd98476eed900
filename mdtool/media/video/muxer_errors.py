"""Why FFmpeg refuses an output, in words for a person, and which other container would work."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction

import av
from av import logging as av_logging

# What FFmpeg logs of an encoder or muxer that gives up, beside the cause itself.
UNSAID = ("error initializing output stream", "could not write header", "error while opening encoder", "frame=")


def clock(seconds: Fraction | float | None) -> str:
    """Return a time as h:mm:ss.s."""
    if seconds is None:
        return "an unknown time"
    tenths = round(float(seconds) * 10)
    sign, tenths = ("-", -tenths) if tenths < 0 else ("", tenths)
    minutes, rest = divmod(tenths, 600)
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{rest // 10:02}.{rest % 10}"


def is_refusal(error: Exception) -> bool:
    """Return whether a muxer or encoder refuses what it is given; otherwise the output can't be written."""
    return not isinstance(error, OSError) or error.errno == errno.EPERM


def reason(error: Exception) -> str:
    """Return what FFmpeg says of an error, from its log if that was on."""
    logged = getattr(error, "log", None)
    if logged:
        return _plain(logged[2])
    return (getattr(error, "strerror", None) or str(error)).lower()


def logged_reason(attempt: Callable[[], object]) -> str:
    """Do what has failed again with FFmpeg's log on, and return what it says; "" if it says nothing.

    FFmpeg's log is off otherwise: PyAV takes Python's lock for each line, in whatever thread writes it.
    """
    with _log() as lines, suppress(av.FFmpegError, OSError, ValueError):
        attempt()
    said = [_plain(line) for _, _, line in lines]
    return next((line for line in said if line and not line.lower().startswith(UNSAID)), "")


@contextmanager
def _log() -> Iterator[list[tuple[int, str, str]]]:
    before = av_logging.get_level()
    try:
        av_logging.set_skip_repeated(False)  # else what is said of a second file is told of the third
        av_logging.set_level(av_logging.ERROR)
        with av_logging.Capture() as lines:
            yield lines
    finally:
        av_logging.set_level(before)


def _plain(line: str) -> str:
    return " ".join(line.split()).rstrip(".")
