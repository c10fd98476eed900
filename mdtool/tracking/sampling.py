"""Distance between keyframes, the frames that the model analyses."""

import re
from dataclasses import dataclass, replace

from mdtool.errors import UsageError

AUTO_SECONDS = 0.5  # between keyframes with automatic sampling
AUTO_FRAMES = (12, 16)  # least and most frames for that
STABLE_FACTOR = 2.0  # factor on the distance after a window whose keyframes all agree
REGULAR_SHARE = 0.6  # of a limited number of model calls; the rest is for refinement


@dataclass(frozen=True)
class Sampling:
    """How often the model runs. With neither `stride` nor `fps`, sampling is automatic: as the content requires.

    Attributes:
        stride: Frames from one regular keyframe to the next.
        fps: Keyframes per second.
        at_least: Least frames between regular keyframes, to stay within a limited number of model calls.
    """

    stride: int | None = None
    fps: float | None = None
    at_least: int = 1

    @property
    def auto(self) -> bool:
        """Whether sampling is automatic."""
        return self.stride is None and self.fps is None

    def frames_between(self, rate: float) -> int:
        """Return the frames from one regular keyframe to the next, for a stream of `rate` frames per second."""
        if self.stride is not None:
            frames = self.stride
        elif self.fps is not None:
            frames = round(rate / self.fps)
        else:
            frames = min(max(round(AUTO_SECONDS * rate), AUTO_FRAMES[0]), AUTO_FRAMES[1])
        return max(1, frames, self.at_least)

    def limited(self, calls: int, frames: int) -> "Sampling":
        """Return a sampling that needs at most about `calls` model calls for `frames` frames."""
        share = REGULAR_SHARE if self.auto else 1.0
        return replace(self, at_least=-(-frames // max(1, int(share * calls))))


def parse_sampling(text: str) -> Sampling:
    """Parse the value of --sample: "every", "auto", a number of frames, or "fps=F".

    Raises:
        UsageError: It is none of these.
    """
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
