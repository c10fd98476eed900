"""How close together keyframes are: the frames that the model analyses."""

import re
from dataclasses import dataclass, replace

from mdtool.errors import UsageError

AUTO_SECONDS = 0.5
AUTO_FRAMES = (12, 16)
STABLE_FACTOR = 2.0  # keyframes are that much further apart once those of a window all told the same story
REGULAR_SHARE = 0.6  # of a limited number of model calls; the others are for what the regular ones bring up


@dataclass(frozen=True)
class Sampling:
    """stride: frames from one regular keyframe to the next; fps: or keyframes a second; neither: as the picture needs.

    at_least: frames between regular keyframes, where fewer would use up a limited number of model calls.
    """

    stride: int | None = None
    fps: float | None = None
    at_least: int = 1

    @property
    def auto(self) -> bool:
        return self.stride is None and self.fps is None

    def frames_between(self, rate: float) -> int:
        """Frames from one regular keyframe to the next, for a stream of `rate` frames a second."""
        if self.stride is not None:
            frames = self.stride
        elif self.fps is not None:
            frames = round(rate / self.fps)
        else:
            frames = min(max(round(AUTO_SECONDS * rate), AUTO_FRAMES[0]), AUTO_FRAMES[1])
        return max(1, frames, self.at_least)

    def limited(self, calls: int, frames: int) -> "Sampling":
        """Spread so that `calls` are enough for about `frames` frames."""
        share = REGULAR_SHARE if self.auto else 1.0
        return replace(self, at_least=-(-frames // max(1, int(share * calls))))


def parse_sampling(text: str) -> Sampling:
    """`every`, a number of frames, `fps=F` or `auto`."""
    if text == "auto":
        return Sampling()
    if text == "every":
        return Sampling(stride=1)
    if re.fullmatch(r"[1-9]\d*", text):
        return Sampling(stride=int(text))
    rate = re.fullmatch(r"fps=(\d+\.?\d*|\.\d+)", text)
    if rate and float(rate[1]) > 0:
        return Sampling(fps=float(rate[1]))
    raise UsageError(f"--sample {text!r}: give every, auto, a number of frames such as 10, or fps=2")
