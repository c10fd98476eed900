"""Which frames the model is asked to look at."""

import re
from dataclasses import dataclass

from mdtool.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """stride: frames from one regular look to the next; fps: or looks a second; neither: as the picture asks for it."""

    stride: int | None = None
    fps: float | None = None

    @property
    def auto(self) -> bool:
        return self.stride is None and self.fps is None


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
