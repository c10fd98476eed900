"""The frame rate of a video stream, where a container states one that can't be."""

from fractions import Fraction
from typing import Any

MAX_RATE = 240  # frames per second; above it the average is believed only if the guess is as high
MAX_RATIO = 4  # of the average rate to the guess, the rate whose multiples all time stamps are


def frame_rate(stream: Any) -> Fraction | None:
    """Return the average frame rate of a video stream, or the guessed one where the average is absurd; None if unknown.

    FFmpeg takes the average from the header, or from the first packets: by a wrong duration, or by uneven steps, it can
    be thousands of frames per second.
    """
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and (average > MAX_RATE or average > MAX_RATIO * guessed):
        return Fraction(min(average, guessed))
    return Fraction(average or guessed) if average or guessed else None
